import type { NodeIdent, RangeId } from '../model/range.js';

/** Something that happened, for people who follow it live. */
export interface NewsItem {
  readonly kind: 'step' | 'operation' | 'node' | 'range' | 'drain' | 'leader';
  readonly text: string;
  readonly range?: RangeId | undefined;
  readonly node?: NodeIdent | undefined;
}

/** Brings what happens to those who follow it. Nothing is kept for who comes later. */
export class News {
  private readonly listeners = new Set<(item: NewsItem) => void>();

  get followed(): boolean {
    return this.listeners.size > 0;
  }

  follow(listener: (item: NewsItem) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tell(item: NewsItem): void {
    for (const listener of this.listeners) listener(item);
  }
}
