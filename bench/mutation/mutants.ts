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
  const found: Mutant[] = [];
  const textOf = ({ start, end }: { start: number; end: number }): string => source.slice(start, end);
  const short = (text: string): string => {
    const line = text.replace(/\s+/g, ' ');
    return line.length > 60 ? `${line.slice(0, 40)} … ${line.slice(-17)}` : line;
  };

  /** `around` is the expression that is shown. */
  const add = (
    start: number,
    end: number,
    replacement: string,
    around: { start: number; end: number },
  ): void => {
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
    found.push({
      start,
      end,
      replacement,
      line: source.slice(0, start).split('\n').length,
      text: source.slice(lineStart, lineEnd < 0 ? undefined : lineEnd).trim(),
      change: `${short(textOf(around))} → ${short(`${before}${replacement}${after}`) || 'nothing'}`,
    });
  };
  const replace = (node: Node, replacement: string): void => add(node.start, node.end, replacement, node);
  /** The operator between two operands, brackets of the operands apart. */
  const operator = (node: Node, left: Node, right: Node): void => {
    const name = node.operator as string;
    const at = source.indexOf(name, left.end);
    if (at < 0 || at > right.start) return;
    for (const other of OPERATORS[name] ?? []) add(at, at + name.length, other, node);
  };

  const visit = (node: Node, parent: Node | undefined): void => {
    const { left, right, argument, test, operator: name, value } = node;
    switch (node.type) {
      case 'BinaryExpression':
        if (!(name === '+' && (isText(left as Node) || isText(right as Node))))
          operator(node, left as Node, right as Node);
        break;
      case 'LogicalExpression':
        if (name === '??') add((left as Node).end, node.end, '', node);
        else operator(node, left as Node, right as Node);
        break;
      case 'AssignmentExpression':
        operator(node, left as Node, right as Node);
        break;
      case 'UnaryExpression':
        if (name === '-' || name === '!') replace(node, textOf(argument as Node));
        break;
      case 'IfStatement':
      case 'ConditionalExpression':
        for (const other of ['true', 'false'])
          add((test as Node).start, (test as Node).end, other, test as Node);
        break;
      case 'WhileStatement':
        add((test as Node).start, (test as Node).end, 'false', test as Node);
        break;
      case 'SwitchCase':
        if (isNode(test)) add(test.start, test.end, 'Symbol()', test);
        break;
      case 'Literal':
        if (typeof value === 'boolean') replace(node, String(!value));
        if (typeof value === 'number')
          for (const other of otherNumbers(value)) replaceNumber(node, other, parent);
        break;
      case 'ExpressionStatement':
        if ((node.expression as Node).type !== 'Literal') replace(node, ';');
        break;
      case 'SpreadElement':
        if (parent?.type === 'ObjectExpression') replace(node, '...{}');
        if (parent?.type === 'ArrayExpression') replace(node, '...[]');
        break;
      case 'CallExpression':
        call(node, node.callee as Node);
        break;
    }
  };
  /** A number is shown with what it stands in, where that is short. */
  const replaceNumber = (node: Node, other: number, parent: Node | undefined): void => {
    const around = parent !== undefined && parent.end - parent.start <= 60 ? parent : node;
    const text = other < 0 || Object.is(other, -0) ? `(${other})` : String(other);
    add(node.start, node.end, text, around);
  };
  const call = (node: Node, callee: Node): void => {
    if (callee.type !== 'MemberExpression' || callee.computed === true) return;
    const property = callee.property as Node;
    const object = callee.object as Node;
    const method = property.name as string;
    if (object.type === 'Identifier' && object.name === 'Math' && method === 'abs')
      replace(node, `(${textOf((node.arguments as Node[])[0]!)})`);
    const other = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
    if (other !== undefined) add(property.start, property.end, other, node);
    if (DROPPED.has(method)) add(object.end, node.end, '', node);
  };

  /** Below types, imports and pages there is nothing that runs; a bound of an endless loop would only wait. */
  const walk = (node: Node, parent: Node | undefined): void => {
    if (node.type === 'ImportDeclaration') return;
    if (node.type.startsWith('TS') && !isNode(node.expression)) return;
    if (node.type === 'Property' && (node.key as Node).name === 'docs') return;
    visit(node, parent);
    for (const [key, child] of Object.entries(node)) {
      if (key === 'typeAnnotation' || key === 'typeArguments' || key === 'returnType') continue;
      if (node.type === 'ForStatement' && key === 'update') continue;
      for (const one of Array.isArray(child) ? child : [child]) if (isNode(one)) walk(one, node);
    }
  };
  walk(parseAst(source, { lang: 'ts' }) as unknown as Node, undefined);
  return found.sort((a, b) => a.start - b.start);
}

/** The source with one mutant in it. */
export const withMutant = (source: string, { start, end, replacement }: Mutant): string =>
  source.slice(0, start) + replacement + source.slice(end);
