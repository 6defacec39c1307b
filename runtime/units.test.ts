import { describe, expect, it } from 'vitest';
import { formatAddress, formatBytes, formatDuration, parseAddress, parseBytes, parseDuration } from './units.js';

describe('addresses', () => {
  it.each([
    ['localhost:5200', { host: 'localhost', port: 5200 }],
    ['10.0.0.1:0', { host: '10.0.0.1', port: 0 }],
    ['[::1]:5200', { host: '::1', port: 5200 }],
    [':5200', { host: '', port: 5200 }],
    ['5200', { host: 'localhost', port: 5200 }],
    ['node-1.svc.cluster.local:65535', { host: 'node-1.svc.cluster.local', port: 65535 }],
  ])('reads %s', (text, address) => {
    expect(parseAddress(text)).toEqual(address);
  });

  it.each(['', 'localhost', 'localhost:', 'localhost:70000', 'a:b', '::1:5200', 'a b:1', 'http://x:1', '-1'])('refuses %j', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it('prints what it reads', () => {
    for (const text of ['localhost:5200', '[::1]:5200', ':80']) {
      const address = parseAddress(text);
      expect(address && formatAddress(address)).toBe(text);
    }
  });
});

describe('durations', () => {
  it.each([
    ['500ms', 500],
    ['10s', 10_000],
    ['1.5m', 90_000],
    ['2h', 7_200_000],
    ['1m30s', 90_000],
    ['250', 250],
    ['0s', 0],
  ])('reads %s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each(['', 's', '10 s', '-5s', '10d', '1s2', 'abc'])('refuses %j', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });

  it('prints the largest whole unit', () => {
    expect([0, 250, 1500, 10_000, 90_000, 3_600_000].map(formatDuration)).toEqual(['0ms', '250ms', '1500ms', '10s', '90s', '1h']);
  });
});

describe('sizes', () => {
  it.each([
    ['65536', 65536],
    ['64KiB', 65536],
    ['64k', 65536],
    ['1.5 MiB', 1_572_864],
    ['2GB', 2_147_483_648],
    ['7b', 7],
  ])('reads %s', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });

  it.each(['', 'KiB', '-1', '1x', '1e3', '9999999999 TiB'])('refuses %j', (text) => {
    expect(parseBytes(text)).toBeUndefined();
  });

  it('prints', () => {
    expect([0, 1023, 65536, 1_572_864].map(formatBytes)).toEqual(['0 B', '1023 B', '64 KiB', '1.5 MiB']);
  });
});
