import { expect, test } from 'vitest';
import { formatCoordination, parseCoordination } from './choose.js';

test.each([
  ['embedded', { kind: 'embedded', address: 'localhost:5000' }],
  ['embedded://10.0.0.1:6000', { kind: 'embedded', address: '10.0.0.1:6000' }],
  ['embedded://controller', { kind: 'embedded', address: 'controller:5000' }],
  ['embedded://[::1]:6000', { kind: 'embedded', address: '[::1]:6000' }],
  ['consul://localhost:8500', { kind: 'consul', host: 'localhost', port: 8500 }],
  ['consul://consul.local/', { kind: 'consul', host: 'consul.local', port: 8500 }],
  ['consul://[::1]:8501', { kind: 'consul', host: '::1', port: 8501 }],
] as const)('%s', (text, choice) => {
  expect(parseCoordination(text)).toEqual(choice);
  expect(parseCoordination(formatCoordination(choice))).toEqual(choice);
});

test.each([
  ['', 'it is empty'],
  ['consul', 'consul://localhost:8500'],
  ['localhost:8500', 'which backend answers there'],
  ['etcd://localhost:2379', "'etcd' is not a backend"],
  ['consul://', 'the host is missing'],
  ['consul://host:0', "'host:0' is not host:port"],
  ['consul://host:65536', "'host:65536' is not host:port"],
  ['embedded://a b', "'a b' is not host:port"],
])("'%s' is refused: %s", (text, why) => {
  expect(() => parseCoordination(text)).toThrow(why);
  expect(() => parseCoordination(text)).toThrow("Use 'embedded', 'embedded://host:5000' or 'consul://host:8500'");
});
