/**
 * The small changes that a mutation run tries: each is one replacement in the text of a source file.
 *
 * Texts of messages and docs are left alone, since no verdict hangs on them. Numbers are changed, since here they are
 * the thresholds: a window doubled in silence would be a wrong verdict.
 */
import { parseAst } from 'vitest/node';

export interface Mutant {
  /** Offsets into the source, in UTF-16 units. */
  readonly start: number;
  readonly end: number;
  readonly replacement: string;
  /** From 1. */
  readonly line: number;
  /** The line as it stands, trimmed. */
  readonly text: string;
  /** What becomes of it: `a < b → a <= b`. */
  readonly change: string;
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

const OPERATORS: Readonly<Record<string, readonly string[]>> = {
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '===': ['!=='],
  '!==': ['==='],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '**': ['*'],
  '&&': ['||'],
  '||': ['&&'],
  '+=': ['-='],
  '-=': ['+='],
  '*=': ['/='],
  '/=': ['*='],
};

const METHODS: Readonly<Record<string, string>> = {
  min: 'max',
  max: 'min',
  some: 'every',
  every: 'some',
  floor: 'ceil',
  ceil: 'floor',
  round: 'floor',
  startsWith: 'endsWith',
  endsWith: 'startsWith',
  find: 'findLast',
  findLast: 'find',
  findIndex: 'findLastIndex',
  findLastIndex: 'findIndex',
};

/** Calls that may go and leave their object: `x.filter(f)` → `x`. */
const DROPPED = new Set([
  'filter',
  'sort',
  'toSorted',
  'reverse',
  'toReversed',
  'slice',
  'trim',
  'toLowerCase',
]);

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';

const isText = ({ type, value }: Node): boolean =>
  type === 'TemplateLiteral' || (type === 'Literal' && typeof value === 'string');

/** Whole numbers up to 2 move by one, others by a factor: 2 within the sizes of windows and shares, 1,000 beyond. */
function otherNumbers(value: number): readonly number[] {
  if (value === 0) return [1];
  if (value === 1 || value === 2) return [value - 1, value + 1];
  const factor = value > 1e-4 && value < 1e5 ? 2 : 1000;
  return [value * factor, value / factor];
}

/**
 * All mutants of a TypeScript source, in the order of the text.
 *
 * @throws where the source does not parse
 */
export function mutantsOf(source: string): readonly Mutant[] {
  const found = new Found(source);
  walk(parseAst(source, { lang: 'ts' }) as unknown as Node, undefined, found);
  return found.mutants.sort((a, b) => a.start - b.start);
}

/** Below types, imports and pages there is nothing that runs; a bound of an endless loop would only wait. */
function walk(node: Node, parent: Node | undefined, found: Found): void {
  if (node.type === 'ImportDeclaration') return;
  if (node.type.startsWith('TS') && !isNode(node.expression)) return;
  if (node.type === 'Property' && (node.key as Node).name === 'docs') return;
  MUTATORS[node.type]?.(node, parent, found);
  for (const [key, child] of Object.entries(node)) {
    if (key === 'typeAnnotation' || key === 'typeArguments' || key === 'returnType') continue;
    if (node.type === 'ForStatement' && key === 'update') continue;
    for (const one of Array.isArray(child) ? child : [child]) if (isNode(one)) walk(one, node, found);
  }
}

interface Span {
  readonly start: number;
  readonly end: number;
}

const short = (text: string): string => {
  const line = text.replace(/\s+/g, ' ');
  return line.length > 60 ? `${line.slice(0, 40)} … ${line.slice(-17)}` : line;
};

/** The mutants of one source so far. */
class Found {
  readonly mutants: Mutant[] = [];
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }

  textOf({ start, end }: Span): string {
    return this.source.slice(start, end);
  }

  /** Replaces a stretch, where the source still parses then. `around` is the expression that is shown. */
  add(start: number, end: number, replacement: string, around: Span): void {
    const { source } = this;
    const before = source.slice(around.start, start);
    const after = source.slice(end, around.end);
    const lineStart = source.lastIndexOf('\n', start - 1) + 1;
    const lineEnd = source.indexOf('\n', start);
    const mutated = source.slice(0, start) + replacement + source.slice(end);
    try {
      parseAst(mutated, { lang: 'ts' });
    } catch {
      return;
    }
    this.mutants.push({
      start,
      end,
      replacement,
      line: source.slice(0, start).split('\n').length,
      text: source.slice(lineStart, lineEnd < 0 ? undefined : lineEnd).trim(),
      change: `${short(this.textOf(around))} → ${short(`${before}${replacement}${after}`) || 'nothing'}`,
    });
  }

  replace(node: Node, replacement: string): void {
    this.add(node.start, node.end, replacement, node);
  }

  /** The operator between two operands, brackets of the operands apart. */
  operator(node: Node, left: Node, right: Node): void {
    const name = node.operator as string;
    const at = this.source.indexOf(name, left.end);
    if (at < 0 || at > right.start) return;
    for (const other of OPERATORS[name] ?? []) this.add(at, at + name.length, other, node);
  }

  /** A number is shown with what it stands in, where that is short. */
  number(node: Node, other: number, parent: Node | undefined): void {
    const around = parent !== undefined && parent.end - parent.start <= 60 ? parent : node;
    const text = other < 0 || Object.is(other, -0) ? `(${other})` : String(other);
    this.add(node.start, node.end, text, around);
  }
}

/** What is changed of a node, by its type. */
const MUTATORS: Readonly<Record<string, (node: Node, parent: Node | undefined, found: Found) => void>> = {
  BinaryExpression(node, _, found) {
    const [left, right] = [node.left as Node, node.right as Node];
    if (!(node.operator === '+' && (isText(left) || isText(right)))) found.operator(node, left, right);
  },
  LogicalExpression(node, _, found) {
    const left = node.left as Node;
    if (node.operator === '??') found.add(left.end, node.end, '', node);
    else found.operator(node, left, node.right as Node);
  },
  AssignmentExpression: (node, _, found) => found.operator(node, node.left as Node, node.right as Node),
  UnaryExpression(node, _, found) {
    if (node.operator === '-' || node.operator === '!')
      found.replace(node, found.textOf(node.argument as Node));
  },
  IfStatement: mutateTest,
  ConditionalExpression: mutateTest,
  WhileStatement(node, _, found) {
    const test = node.test as Node;
    found.add(test.start, test.end, 'false', test);
  },
  SwitchCase({ test }, _, found) {
    if (isNode(test)) found.add(test.start, test.end, 'Symbol()', test);
  },
  Literal(node, parent, found) {
    const { value } = node;
    if (typeof value === 'boolean') found.replace(node, String(!value));
    if (typeof value === 'number') for (const other of otherNumbers(value)) found.number(node, other, parent);
  },
  ExpressionStatement(node, _, found) {
    if ((node.expression as Node).type !== 'Literal') found.replace(node, ';');
  },
  SpreadElement(node, parent, found) {
    if (parent?.type === 'ObjectExpression') found.replace(node, '...{}');
    if (parent?.type === 'ArrayExpression') found.replace(node, '...[]');
  },
  CallExpression(node, _, found) {
    const callee = node.callee as Node;
    if (callee.type !== 'MemberExpression' || callee.computed === true) return;
    const property = callee.property as Node;
    const object = callee.object as Node;
    const method = property.name as string;
    if (object.type === 'Identifier' && object.name === 'Math' && method === 'abs')
      found.replace(node, `(${found.textOf((node.arguments as Node[])[0]!)})`);
    const other = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
    if (other !== undefined) found.add(property.start, property.end, other, node);
    if (DROPPED.has(method)) found.add(object.end, node.end, '', node);
  },
};

function mutateTest(node: Node, _: Node | undefined, found: Found): void {
  const test = node.test as Node;
  for (const other of ['true', 'false']) found.add(test.start, test.end, other, test);
}

/** The source with one mutant in it. */
export const withMutant = (source: string, { start, end, replacement }: Mutant): string =>
  source.slice(0, start) + replacement + source.slice(end);
