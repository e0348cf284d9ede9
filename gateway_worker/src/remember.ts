/** Bounded memory of an isolate. */

/** Puts an entry last; beyond `limit` entries the oldest goes. A Map iterates in the order of insertion. */
export function remember<K, V>(map: Map<K, V>, key: K, value: V, limit: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= limit) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    break;
  }
}
