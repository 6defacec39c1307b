import { Load } from './load.js';
import type { FromGenerator, ToGenerator } from './generators.js';

/** The process that makes the load, so that it and the benchmark's own work do not delay each other. */
const loads = new Map<number, Load>();

process.on('message', (message: ToGenerator) => {
  switch (message.do) {
    case 'start': {
      const load = new Load(message.options);
      loads.set(message.load, load);
      load.start();
      return;
    }
    case 'lap': {
      const lap = loads.get(message.load)?.lap();
      if (lap) process.send?.({ load: message.load, lap } satisfies FromGenerator);
      return;
    }
    case 'stop':
      loads.get(message.load)?.stop();
      loads.delete(message.load);
  }
});
process.on('disconnect', () => {
  process.exit(0);
});
