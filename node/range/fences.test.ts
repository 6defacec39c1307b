import { describe, expect, it } from 'vitest';
import { AppError } from '../../runtime/errors.js';
import { MemoryStorage } from '../storage/memory.js';
import { durableTerms } from './fences.js';

describe('durable terms', () => {
  it('hold after a restart, and never fall', async () => {
    const storage = new MemoryStorage('disk');
    const terms = durableTerms(storage);
    await terms.raise(4);
    await terms.raise(3);
    expect(terms.get()).toBe(4);
    expect(durableTerms(storage).get()).toBe(4);
  });

  it('what could not be written is not in force', async () => {
    const storage = new MemoryStorage('disk', () => Promise.reject(new AppError('RESOURCE_EXHAUSTED', 'full')));
    const terms = durableTerms(storage);
    await expect(terms.raise(4)).rejects.toThrow('full');
    expect(terms.get()).toBe(0);
  });
});
