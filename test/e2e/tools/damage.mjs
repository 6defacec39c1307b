// Changes what a node that does not run has on its disk of keys, behind its back:
//
//   node damage.mjs DIRECTORY rot|remove|revive KEY…
//
// rot: another value at the same position. remove: no value. revive: a value that was never written.
import { Buffer } from 'node:buffer';
import { open } from 'lmdb';

const [directory, how, ...keys] = process.argv.slice(2);
const env = open({ path: `${directory}/data.mdb`, noSubdir: true, encoding: 'binary', keyEncoding: 'binary', maxDbs: 16 });
const pairs = env.openDB({ name: 'pairs', encoding: 'binary', keyEncoding: 'binary' });
for (const text of keys) {
  const key = Buffer.from(text);
  const stored = pairs.get(key);
  if ((how === 'revive') === (stored !== undefined)) throw new Error(`${text} is ${stored ? 'there' : 'not there'}`);
  if (how === 'remove') pairs.removeSync(key);
  else if (how === 'revive') pairs.putSync(key, Buffer.concat([Buffer.alloc(12, 1), Buffer.from('undead')]));
  else pairs.putSync(key, Buffer.concat([stored.subarray(0, 12), Buffer.from('rotten')]));
}
await env.close();
