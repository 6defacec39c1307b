import { NEVER, type Observable, startWith, Subject, takeUntil } from 'rxjs';
import type { Discovery, Instance, Registration, ServiceName } from '../../coordination/interfaces.js';

/** Discovery where everybody was told of: the nodes of the command line, and nobody else. */
export class StaticDiscovery implements Discovery {
  private readonly closed = new Subject<void>();

  constructor(private readonly nodes: readonly Instance[]) {}

  register(): Promise<Registration> {
    return Promise.resolve({ deregister: () => Promise.resolve() });
  }

  watch(service: ServiceName): Observable<readonly Instance[]> {
    return NEVER.pipe(startWith(service === 'node' ? this.nodes : []), takeUntil(this.closed));
  }

  close(): Promise<void> {
    this.closed.next();
    return Promise.resolve();
  }
}
