/** What a template of the configuration may name of an alert, as `{run}`. */
export const MESSAGE_FIELDS = [
  'event',
  'class',
  'run',
  'path',
  'message',
  'step',
  'headline',
  'text',
  'key',
] as const;

export type MessageField = (typeof MESSAGE_FIELDS)[number];

const NAMED = /\{(\w+)\}/g;

/** Puts the values in the place of the fields that a text names; an unknown name stays. */
export const withFields = (text: string, value: (field: MessageField) => string): string =>
  text.replace(NAMED, (whole, name: string) =>
    (MESSAGE_FIELDS as readonly string[]).includes(name) ? value(name as MessageField) : whole,
  );

/** The names in a text that are no fields. */
export const unknownFields = (text: string): string[] =>
  [...text.matchAll(NAMED)].flatMap(([, name]) =>
    (MESSAGE_FIELDS as readonly string[]).includes(name!) ? [] : [name!],
  );
