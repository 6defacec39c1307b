import { status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { AppError, type ErrorCode } from '../runtime/errors.js';
import { codeOfStatus, fromServiceError, statusNumber, toServiceError } from './status.js';

describe('status', () => {
  it("has gRPC's own numbers for every code, both ways", () => {
    for (const [name, number] of Object.entries(status)) {
      if (typeof number !== 'number' || number === 0) continue;
      expect(codeOfStatus(number)).toBe(name);
      expect(statusNumber(name as ErrorCode)).toBe(number);
    }
  });

  it('takes a number that gRPC does not know as UNKNOWN', () => {
    expect(codeOfStatus(99)).toBe('UNKNOWN');
  });

  it('keeps code and message through the wire form', () => {
    const sent = toServiceError(new AppError('ABORTED', 'range 1 is not here'));
    expect(sent).toEqual({ code: 10, details: 'range 1 is not here' });
    const received = fromServiceError(Object.assign(new Error('10 ABORTED: range 1 is not here'), sent));
    expect(received).toMatchObject({ code: 'ABORTED', message: 'range 1 is not here' });
  });

  it('makes INTERNAL of what nobody expected', () => {
    expect(toServiceError(new TypeError('x is undefined'))).toEqual({ code: 13, details: 'x is undefined' });
    expect(toServiceError('text')).toEqual({ code: 13, details: 'text' });
    expect(fromServiceError(new Error('no code')).code).toBe('INTERNAL');
    // Node's own errors have a textual code, which is no status.
    expect(fromServiceError(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })).code).toBe('INTERNAL');
  });

  it('passes an AppError through unchanged', () => {
    const error = new AppError('NOT_FOUND', 'no such key');
    expect(fromServiceError(error)).toBe(error);
  });

  it('makes details that a header can carry', () => {
    const { details } = toServiceError(new AppError('ABORTED', `bad \ud800 ${'x'.repeat(10_000)}`));
    expect(details.length).toBeLessThanOrEqual(2048);
    expect(() => encodeURI(details)).not.toThrow();
  });
});
