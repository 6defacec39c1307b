import { grpcTransports } from '../../client/transport.js';
import { type PipeRequestFrame, PUT, decodePipeResponses, encodePipeRequests } from '../../proto/kv-codec.js';
import { systemClock } from '../../runtime/clock.js';
import { VALUE, keyAt } from './keys.js';

/** Requests under way: enough that each answer finds more to send. */
const WINDOW = 2_000;
const BATCH = 500;

/** Writes the first `count` keys of `of` through a proxy or node, by its pipe: a unary call each would take minutes. */
export function fill(address: string, count: number, of: number = count): Promise<void> {
  const transport = grpcTransports(systemClock)(address);
  return new Promise<void>((resolve, reject) => {
    let sent = 0;
    let answered = 0;
    const send = (): void => {
      while (sent < count && sent - answered <= WINDOW - BATCH) {
        const batch: PipeRequestFrame[] = [];
        while (batch.length < BATCH && sent < count) batch.push({ id: ++sent, action: PUT, key: keyAt(sent - 1, of), value: VALUE });
        stream.write(encodePipeRequests(batch), () => undefined);
      }
    };
    const stream = transport.openPipe({
      onOpen: send,
      onMessage: (bytes) => {
        const answers = decodePipeResponses(bytes);
        const failed = answers.find(({ code }) => code !== 0);
        if (failed) {
          reject(new Error(`a write failed with status ${failed.code}: ${failed.message}`));
          return;
        }
        answered += answers.length;
        if (answered === count) resolve();
        else send();
      },
      onEnd: ({ code, details }) => {
        reject(new Error(`the stream of writes ended with status ${code}: ${details}`));
      },
    });
  }).finally(() => {
    transport.close();
  });
}
