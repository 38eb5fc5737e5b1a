/** What was not done for one reason, reported once. */
export function byReason<One extends { readonly id: string; readonly reason: string }>(
  entries: readonly One[],
  sameIf: (one: One) => string = ({ reason }) => reason,
): { readonly ids: string; readonly one: One }[] {
  const groups = new Map<string, One[]>();
  for (const entry of entries) groups.set(sameIf(entry), [...(groups.get(sameIf(entry)) ?? []), entry]);
  return [...groups.values()].map((group) => ({
    ids: [...new Set(group.map(({ id }) => id))].join(', '),
    one: group[0]!,
  }));
}
