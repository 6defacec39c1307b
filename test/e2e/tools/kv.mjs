/*
 * Data for the tests, many keys at once; every value follows from its key, so that
 * any process can check what another one wrote.
 *
 *   kv.mjs put   <addr> <prefix>:<count>:<bytes>…
 *   kv.mjs check <addr> <prefix>:<count>:<bytes>…    exit code 1 when a value is not what was put
 *
 * Keys hold bytes that are no text: zero, 0xff, and what is no UTF-8.
 */
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { connect } from './grpc.mjs';

const IN_FLIGHT = 64;
const IN_FLIGHT_BYTES = 32 * 1024 * 1024;
const DEADLINE_MS = 60_000;

function keyAt(prefix, index) {
  return Buffer.concat([Buffer.from(`${prefix}${index}`), Buffer.from([0x00, 0xff, 0xc3, 0x28])]);
}

function valueOf(key, bytes) {
  const seed = createHash('sha256').update(key).digest();
  return Buffer.alloc(bytes, seed);
}

async function eachKey(count, bytes, act) {
  const callers = Math.max(1, Math.min(IN_FLIGHT, count, Math.floor(IN_FLIGHT_BYTES / bytes)));
  let next = 0;
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (next < count) await act(next++);
    }),
  );
}

const [action, address, ...batches] = process.argv.slice(2);
const kv = connect(address, 'kv', 'KV');
const wrong = [];

const ACTIONS = {
  async put(key, bytes) {
    await kv.call('Put', { key, value: valueOf(key, bytes), level: 0, writeId: Buffer.alloc(0), retryAgeMs: 0n }, DEADLINE_MS);
  },
  async check(key, bytes) {
    const got = await kv.call('Get', { key, stale: false }, DEADLINE_MS).then(
      ({ value }) => value,
      (error) => Buffer.from(error.message),
    );
    if (!got.equals(valueOf(key, bytes))) wrong.push(`${JSON.stringify(key.toString('latin1'))}: ${got.subarray(0, 200).toString('latin1')}`);
  },
};

const act = ACTIONS[action];
if (!act) throw new Error(`kv.mjs: ${action} is neither put nor check`);
for (const batch of batches) {
  const [prefix, count, bytes] = batch.split(':');
  await eachKey(Number(count), Number(bytes), (index) => act(keyAt(prefix, index), Number(bytes)));
}
kv.close();
if (wrong.length > 0) {
  console.error(`${wrong.length} values are not what was put:\n${wrong.slice(0, 5).join('\n')}`);
  process.exitCode = 1;
}
