import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ByteBudget } from '../client/budget.js';
import { VALUE_BYTES_MAX } from '../model/key.js';
import { valueProblem } from '../model/limits.js';
import { Problem } from './problem.js';

/** The client hung up before all of its request was here: there is nobody to answer. */
export class ClientGone extends Error {}

export interface Body {
  readonly bytes: Buffer;
  /** What it took of the budget is free again. */
  readonly release: () => void;
}

/** Refuses what need not be read to be refused. */
export function checkBodyHeaders({ headers }: IncomingMessage): void {
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') throw new Problem(415, 'bad_header', `Content-Encoding ${encoding} is not decoded here: send the value as it is to be kept`);
  if (headers['content-range'] !== undefined) throw new Problem(400, 'bad_header', 'Content-Range: a part of a value cannot be written');
  const problem = valueProblem(Number(headers['content-length'] ?? 0));
  if (problem !== undefined) throw new Problem(413, 'value_too_long', problem);
}

/** All of a request's body, as it arrives, up to the largest value there may be. */
export async function readBody(request: IncomingMessage, response: ServerResponse, budget: ByteBudget): Promise<Body> {
  checkBodyHeaders(request);
  // Who asked first is told now that the body is wanted.
  if (request.headers.expect?.toLowerCase() === '100-continue') response.writeContinue();
  const chunks: Buffer[] = [];
  let length = 0;
  const release = (): void => {
    budget.give(length);
    length = 0;
  };
  try {
    // One that is refused in the middle is not cut off before it has its answer.
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      if (length + chunk.length > VALUE_BYTES_MAX) throw new Problem(413, 'value_too_long', `the value is longer than ${VALUE_BYTES_MAX} bytes (8 MiB)`);
      if (!budget.take(chunk.length)) throw new Problem(503, 'overloaded', `requests on their way hold ${budget.used} bytes, and the limit is ${budget.maxBytes}: try again later`, { 'retry-after': '1' });
      length += chunk.length;
      chunks.push(chunk);
    }
    if (!request.complete) throw new ClientGone();
  } catch (thrown) {
    release();
    throw thrown instanceof Problem ? thrown : new ClientGone('the request broke off', { cause: thrown });
  }
  return { bytes: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks), release };
}
