/* stale.mjs <node> <range> <term>: a Deactivate of an old term, at an epoch newer than any; says how it was answered. */
import { codeName, connect } from './grpc.mjs';

const [address, range, term] = process.argv.slice(2);
const node = connect(address, 'ranger', 'Node');
try {
  const answer = await node.call('Deactivate', { range: BigInt(range), epoch: 1_000_000n, term: BigInt(term) });
  console.log('obeyed', answer.state);
} catch (error) {
  console.log(codeName(error.code), error.details);
}
node.close();
