import { Counter, type Registry } from '../runtime/metrics.js';

/** Methods that have routes; whatever else clients think of counts as one. */
const METHODS = new Set(['GET', 'HEAD', 'PUT', 'POST', 'DELETE', 'OPTIONS']);

/** Counts HTTP requests; `prefix` as in `keyranger_proxy`. */
export function httpObserver(registry: Registry, prefix: string): (method: string, status: number) => void {
  const counter = new Counter({
    name: `${prefix}_http_requests_total`,
    help: 'HTTP requests of the API answered, by method and status.',
    labelNames: ['method', 'status'],
    registers: [registry],
  });
  return (method, status) => {
    counter.inc({ method: METHODS.has(method) ? method : 'other', status: String(status) });
  };
}
