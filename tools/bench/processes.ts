import { readFileSync } from 'node:fs';

/** What the kernel says of a process; only Linux does. */
export interface MemoryUse {
  /** What the process made for itself: heap, buffers, stacks; not the storage map or its code. */
  readonly anonymousBytes: number;
  readonly residentBytes: number;
}

/** The kernel counts a process's time in hundredths of a second, on every machine that matters. */
const TICKS_PER_SECOND = 100;

export function memoryOf(pid: number): MemoryUse {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return { anonymousBytes: kilobytes(status, 'RssAnon'), residentBytes: kilobytes(status, 'VmRSS') };
}

export function cpuSecondsOf(pid: number): number {
  return cpuSeconds(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}

/** The program's name, in brackets, may hold anything; what follows it is counted from its end. */
export function cpuSeconds(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

export function kilobytes(status: string, name: string): number {
  const [, count] = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status) ?? [];
  if (count === undefined) throw new Error(`the kernel does not tell ${name} of a process: this benchmark needs Linux`);
  return Number(count) * 1024;
}
