// counters.mjs <proxy> <coordination>: through a proxy and straight to the owners, counts one key up until
// SIGTERM, and watches it through the proxy. Prints a line for each change it was told; last, how often it counted.
import { connect } from 'keyranger';

const [proxy, coordination] = process.argv.slice(2);
const clients = await Promise.all([connect({ proxy, timeoutMs: 60_000 }), connect({ coordination, timeoutMs: 60_000 })]);
let going = true;
process.on('SIGTERM', () => (going = false));

const events = clients[0].watch({ prefix: 'count' });
await events.next();
let told = 0;
let counted = Infinity;
async function watch() {
  for await (const { changes } of events) {
    for (const change of changes) {
      if (Number(change.text()) !== ++told) throw new Error(`change ${told} tells ${change.text()}`);
      console.log(told);
    }
    if (told === counted) return;
  }
}

async function count(client) {
  let times = 0;
  while (going) {
    const found = await client.get('count');
    const written = await client.compareAndSet('count', found?.version ?? 'absent', String(Number(found?.text() ?? 0) + 1));
    if (written.applied) times++;
  }
  return times;
}

const watched = watch();
const times = await Promise.all(clients.map(count));
counted = times[0] + times[1];
// One more, so that whoever watches looks again.
await clients[0].set('count/end', String(++counted));
await watched;
console.log(`counted ${times.every((each) => each > 0) ? counted : times}`);
await Promise.all(clients.map((client) => client.close()));
