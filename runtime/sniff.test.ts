import { describe, expect, it } from 'vitest';
import { protocolOf } from './sniff.js';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

describe('protocolOf', () => {
  it.each([
    ['', 'undecided'],
    ['P', 'undecided'],
    ['PR', 'undecided'],
    ['PRI ', 'undecided'],
    [PREFACE.slice(0, -1), 'undecided'],
    [PREFACE, 'grpc'],
    [`${PREFACE}\0\0\0\x04`, 'grpc'],
    ['PRI * HTTP/1.1', 'garbage'],
    ['PRI x', 'garbage'],
    ['G', 'http'],
    ['GET / HTTP/1.1', 'http'],
    ['PUT', 'http'],
    ['POST', 'http'],
    ['PROPFIND', 'http'],
    ['PRO', 'http'],
    ['\x16\x03\x01', 'http'],
    ['\0', 'http'],
  ] as const)('says of %j: %s', (head, protocol) => {
    expect(protocolOf(Buffer.from(head, 'latin1'))).toBe(protocol);
  });
});
