/**
 * `http PUT host/path < file` and `http host/path`, as HTTPie prints them into a pipe's
 * reader who asked for headers too: the tool itself need not be there.
 */
import { request } from 'node:http';
import { readFileSync } from 'node:fs';

const words = process.argv.slice(2);
const [method, target] = words.length > 1 ? words : ['GET', ...words];
const body = method === 'PUT' ? readFileSync(0) : undefined;
request(`http://${target}`, { method, headers: body ? { 'content-type': 'application/json', 'content-length': body.length } : {} }, (response) => {
  console.log(`HTTP/1.1 ${response.statusCode} ${response.statusMessage}`);
  for (let i = 0; i < response.rawHeaders.length; i += 2) console.log(`${response.rawHeaders[i]}: ${response.rawHeaders[i + 1]}`);
  console.log();
  response.pipe(process.stdout);
}).end(body);
