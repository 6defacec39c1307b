/** One call of kv.Store: `store.mjs <address> <method> <request as JSON>`; bytes are base64, and 64-bit numbers are numbers. */
import { Buffer } from 'node:buffer';
import { connect, encode } from './grpc.mjs';

const [address, method, text] = process.argv.slice(2);
/** The fields that the tests use, by message. */
const KEY = { key: [1, 'bytes'] };
const CONDITION = { absent: [1, 'bool'], present: [2, 'bool'] };
const PUT = { ...KEY, value: [2, 'bytes'], condition: [4, CONDITION] };
const DELETE = { ...KEY, condition: [2, CONDITION] };
const REQUESTS = { Get: KEY, Put: PUT, Delete: DELETE, Batch: { operations: [1, { get: [1, KEY], put: [2, PUT], delete: [3, DELETE] }] } };

function fieldsOf(json, shape) {
  if (shape === 'bytes') return Buffer.from(json, 'base64');
  if (shape === 'bool') return json ? 1 : 0;
  if (Array.isArray(json)) return json.map((item) => fieldsOf(item, shape));
  return Object.fromEntries(Object.entries(json).map(([name, value]) => [shape[name][0], fieldsOf(value, shape[name][1])]));
}

const client = connect(address, 'kv', 'Store');
const request = client.methods[method].requestDeserialize(encode(fieldsOf(JSON.parse(text), REQUESTS[method])));
const answer = await client.call(method, request);
const plain = (name, value) => (typeof value === 'bigint' ? Number(value) : value);
/** A oneof as its only field. */
const flat = (value) => (value !== null && typeof value === 'object' && value.is?.$case ? { [value.is.$case]: value.is[value.is.$case] } : value);
console.log(JSON.stringify(answer, (name, value) => flat(plain(name, value))));
client.close();
