import { expect, test } from 'vitest';
import { cpuSeconds, kilobytes } from './processes.js';

test('the time of a process is found behind whatever its name is', () => {
  const fields = ['S', '1', '1', '1', '0', '-1', '4194304', '100', '0', '0', '0', '250', '150', '0', '0'];
  expect(cpuSeconds(`7 (a) R 9 (b)) ${fields.join(' ')}`)).toBe(4);
});

test('memory is told in bytes, and what the kernel does not tell is said', () => {
  const status = 'VmRSS:\t   2048 kB\nRssAnon:\t   1024 kB\n';
  expect(kilobytes(status, 'RssAnon')).toBe(1024 * 1024);
  expect(() => kilobytes(status, 'RssFile')).toThrow('RssFile');
});
