import { createReadStream } from 'node:fs';
import { runCli } from './cli.js';
import { diskFiles } from './files.js';
import { processIo } from './io.js';
import { readVersion } from '../runtime/version.js';

// A reader that has seen enough, such as `head`, is no failure.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

process.exitCode = await runCli(process.argv.slice(2), processIo((path) => createReadStream(path), diskFiles), readVersion());
