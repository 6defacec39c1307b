// Exits 0 when the program in this container says that it is well. Which one that is,
// and what its flags are, this process is not told: it asks where LISTEN says, or else
// where each of them listens by itself.
import { get } from 'node:http';

const PORTS = [5200, 5100, 5000];
const given = /(\d+)$/.exec(process.env.LISTEN ?? '')?.[1];

/** @param {string | number} port */
function isHealthy(port) {
  return new Promise((resolve) => {
    const request = get({ host: 'localhost', port, path: '/health', timeout: 2000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

const answers = await Promise.all((given === undefined ? PORTS : [given]).map(isHealthy));
process.exit(answers.includes(true) ? 0 : 1);
