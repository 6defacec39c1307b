/**
 * Calls back once the input that is waiting in this event-loop turn has been read.
 * What collects work into batches takes it as an argument, so that tests decide
 * where a turn ends.
 */
export type Turn = (callback: () => void) => void;

export const endOfTurn: Turn = (callback) => {
  setImmediate(callback);
};
