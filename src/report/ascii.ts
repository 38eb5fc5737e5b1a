/** Text for terminals that show ASCII only: our own symbols get words, anything else a question mark. */
const WORDS = new Map(
  Object.entries({
    '…': '...',
    '’': "'",
    '‘': "'",
    '“': '"',
    '”': '"',
    '–': '-',
    '—': '-',
    '→': '->',
    '×': 'x',
    '·': '*',
    '≤': '<=',
    '≥': '>=',
    '±': '+-',
    '‖': '||',
    '√': 'sqrt',
    '∞': 'inf',
    η: 'eta',
    σ: 'sigma',
    λ: 'lambda',
    β: 'beta',
    ε: 'epsilon',
    τ: 'tau',
  }),
);

/** The text in ASCII. */
export const toAscii = (text: string): string =>
  text.replace(/[^\n\x20-\x7e\x1b]/gu, (character) => WORDS.get(character) ?? '?');
