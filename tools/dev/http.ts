import { get } from 'node:http';
import { text } from 'node:stream/consumers';

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/**
 * What is at the URL. Not by fetch(), which refuses the ports that browsers keep pages
 * from, such as 6000 and 10080, and a cluster may be started on any.
 *
 * @throws The socket's error; one named TimeoutError when there was no answer in time.
 */
export function httpGet(url: string, timeoutMs: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const request = get(url, { signal, agent: false }, (response) => {
      text(response).then((body) => {
        resolve({ status: response.statusCode ?? 0, body });
      }, fail);
    });
    request.on('error', fail);
    function fail(error: unknown): void {
      reject((signal.aborted ? signal.reason : error) as Error);
    }
  });
}
