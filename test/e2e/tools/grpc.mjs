/* gRPC for the tests' own tools, on the stubs that the build has made. */
import { Buffer } from 'node:buffer';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import * as grpc from '@grpc/grpc-js';

const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;
const OPTIONS = { 'grpc.max_send_message_length': MESSAGE_BYTES_MAX, 'grpc.max_receive_message_length': MESSAGE_BYTES_MAX };
const DIST = new URL('../../../dist/proto/gen/', import.meta.url);
/** Where each service is described. */
const FILES = {
  'kv.KV': 'kv/kv',
  'kv.Pipe': 'kv/pipe',
  'kv.Store': 'kv/store',
  'kv.Follow': 'kv/follow',
  'ranger.Node': 'ranger/node',
  'ranger.Orchestrator': 'ranger/controller',
  'ranger.Operations': 'ranger/controller',
  'ranger.Debug': 'ranger/controller',
  'ranger.Discovery': 'ranger/coordination',
};

const modules = new Map();
for (const file of new Set(Object.values(FILES))) modules.set(file, await import(new URL(`${file}.js`, DIST).href));

/** The methods of a service as ts-proto describes them, by name. */
export function methodsOf(service) {
  const definition = modules.get(FILES[service])[`${service.split('.')[1]}Service`];
  return Object.fromEntries(Object.values(definition).map((method) => [method.path.split('/')[2], method]));
}

export function codeName(code) {
  return grpc.status[code] ?? String(code);
}

/** A client of one service: `call` for messages, `raw` for bytes. */
export function connect(address, pkg, name) {
  const client = new grpc.Client(address, grpc.credentials.createInsecure(), OPTIONS);
  const methods = methodsOf(`${pkg}.${name}`);
  const deadline = (ms) => ({ deadline: Date.now() + ms });
  return {
    methods,
    call(method, request, deadlineMs = 10_000) {
      const { path, requestSerialize, responseDeserialize } = methods[method];
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, deadline(deadlineMs), (error, response) => (error ? reject(error) : resolve(response)));
      });
    },
    /** Sends the bytes as they are as the one message of a call, and tells how the call ended. */
    raw(method, bytes, deadlineMs = 5_000) {
      const { path, requestStream, responseStream } = methods[method];
      const same = (buffer) => buffer;
      return new Promise((resolve) => {
        const end = ({ code, details }) => resolve({ code: codeName(code), details });
        if (!requestStream && !responseStream) {
          client.makeUnaryRequest(path, same, same, bytes, deadline(deadlineMs), (error) => end(error ?? { code: 0, details: '' }));
          return;
        }
        const call = requestStream
          ? client.makeBidiStreamRequest(path, same, same, deadline(deadlineMs))
          : client.makeServerStreamRequest(path, same, same, bytes, deadline(deadlineMs));
        call.on('data', () => {});
        call.on('error', () => {});
        call.on('status', end);
        if (requestStream) {
          call.write(bytes);
          call.end();
        }
      });
    },
    close: () => client.close(),
  };
}

/** The bytes of a message: number → varint, text or bytes → bytes, object → message, list → repeated. */
export function encode(fields) {
  const writer = new BinaryWriter();
  for (const [number, values] of Object.entries(fields)) {
    for (const value of Array.isArray(values) ? values : [values]) {
      if (typeof value === 'number' || typeof value === 'bigint') writer.tag(Number(number), WireType.Varint).uint64(value);
      else writer.tag(Number(number), WireType.LengthDelimited).bytes(typeof value === 'string' ? Buffer.from(value) : Buffer.isBuffer(value) ? value : encode(value));
    }
  }
  return Buffer.from(writer.finish());
}
