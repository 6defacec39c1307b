/**
 * Writes keys over HTTP until it is told to stop, one after the other, and prints each
 * that was acknowledged: `writer.mjs <address> <prefix> <keys>`.
 */
import { Buffer } from 'node:buffer';

const [address, prefix, keys] = process.argv.slice(2);
let going = true;
process.on('SIGTERM', () => (going = false));
for (let i = 0; going; i++) {
  const key = `${prefix}${i % Number(keys)}`;
  const response = await globalThis.fetch(`http://${address}/kv/${key}`, { method: 'PUT', body: Buffer.from(String(i)) });
  if (!response.ok) throw new Error(`${key}=${i}: ${response.status} ${await response.text()}`);
  const { epoch, offset } = await response.json();
  console.log(JSON.stringify({ key, value: String(i), epoch, offset }));
}
