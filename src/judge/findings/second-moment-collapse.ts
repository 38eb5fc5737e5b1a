import type { Finding } from '../../model/finding.ts';
import { formatNumber } from '../../model/format-number.ts';
import { RATIO, SHARE } from '../../model/options.ts';
import { medianOf } from '../../model/order-statistics.ts';
import { usualRange } from '../incidents/unlike.ts';
import {
  SETTLED,
  type StepFinding,
  type StepWatcher,
  type WalkedGradient,
  type WalkedStep,
  type WalkedTensor,
} from './capture-finding.ts';

const advice =
  'Raise ε, lower the learning rate of these tensors, or clip the update (rms, clippy): a second moment that has fallen turns a usual gradient into a long step.';

export const secondMomentCollapse = {
  id: 'second-moment-collapse',
  title: 'A second moment falls towards 0, and a long update follows',
  severity: 'warning',
  thresholds: [
    {
      name: 'fall',
      value: 10,
      unit: 'ratio of the largest root so far to the root before the step',
      range: RATIO,
      origin: 'a root that fell tenfold makes the step for the old gradient ten times as long',
    },
    {
      name: 'raise',
      value: 2.5,
      unit: 'ratio of the direction to its median before',
      range: RATIO,
      origin:
        'after a fall the direction of RMSProp is up to 1/√(1−ρ), 3.2 at ρ = 0.9. Alone it proves nothing: in calm steps of 67 recorded runs of bench/causes 91 of 4,401 directions of a tensor (2 %) are as long; that fallen entries take most of it is what is odd',
    },
    {
      name: 'share',
      value: 0.5,
      unit: 'share of the squared update',
      range: SHARE,
      origin: 'more than half of the movement is that of the entries whose second moment fell',
    },
  ],
  docs: {
    summary:
      'Entries whose second moment had fallen far below what it was take most of an update that is far above the usual.',
    details: `The recorded run is walked step by step; of each entry the largest root of the second moment so far is kept, after twenty steps of the optimizer. An
entry has collapsed if its root before a step is \`fall\` times below that. A step is found if the update of a tensor, without its learning rate, is \`raise\` times the median of
all before and outside of their range, **and** at least a \`share\` of its square is that of collapsed entries. Small gradients alone, whose second moment falls
with them, are no finding: the update stays as it was. Sums (Adagrad) do not fall. A tensor of which only touched rows moved is not looked at.`,
    advice,
    references: [
      'Molybog et al., A Theory on Adam Instability in Large-Scale Machine Learning, 2023 (arXiv 2304.09871)',
    ],
  },
  watch({ path }, threshold): StepWatcher {
    const largest: (Float64Array | undefined)[] = [];
    const collapsed: (Uint8Array | undefined)[] = [];
    const history = new Map<number, number[]>();
    const found: Finding[] = [];
    let shown: readonly WalkedTensor[] = [];
    let step: WalkedStep | undefined;
    const look = (t: number, fallen: Uint8Array, moved: WalkedGradient['values']): void => {
      let [all, theirs, entries] = [0, 0, 0];
      for (let i = 0; i < moved.length; i++) {
        const square = moved[i]! * moved[i]!;
        all += square;
        if (fallen[i] === 0) continue;
        theirs += square;
        entries++;
      }
      const at = step!.step;
      const direction = Math.sqrt(all) / step!.learningRates[t]!;
      const earlier = history.get(t) ?? [];
      const usual = usualRange(earlier);
      const median = medianOf(earlier);
      const share = theirs / all;
      if (
        usual !== null &&
        direction > usual[1] &&
        direction >= threshold('raise') * median &&
        share >= threshold('share')
      )
        found.push({
          id: secondMomentCollapse.id,
          severity: 'warning',
          message: `the update of "${shown[t]!.name}" at step ${at} is ${formatNumber(direction / median)} times the usual, and ${formatNumber(100 * share)} % of its square is that of ${entries} of ${moved.length} entries whose second moment had fallen ${formatNumber(threshold('fall'))}-fold or more below what it was`,
          steps: [at, at],
          series: null,
          measured: { name: 'update over its median', value: direction / median, unit: 'ratio' },
          threshold: { name: 'update over its median', value: threshold('raise'), unit: 'ratio' },
          locations: [{ path, tensor: shown[t]!.name }],
          advice,
        });
      if (Number.isFinite(direction)) history.set(t, [...earlier, direction]);
    };
    return {
      before(tensors, next) {
        shown = tensors;
        step = next;
        for (const [t, { second, stepsTaken }] of tensors.entries()) {
          if (second === null || second.keeps === 1 || stepsTaken < SETTLED) continue;
          const { values, correction } = second;
          largest[t] ??= new Float64Array(values.length);
          collapsed[t] ??= new Uint8Array(values.length);
          const most = largest[t];
          for (let i = 0; i < values.length; i++) {
            const root = Math.sqrt(values[i]! * correction);
            if (root > most[i]!) most[i] = root;
            collapsed[t][i] = most[i]! > 0 && root * threshold('fall') <= most[i]! ? 1 : 0;
          }
        }
      },
      viewerOf(t) {
        const fallen = collapsed[t];
        return fallen && ((moved) => look(t, fallen, moved));
      },
      findings() {
        const [first] = found;
        if (first === undefined) return [];
        return [found.length === 1 ? first : { ...first, more: found.length - 1 }];
      },
    };
  },
} as const satisfies StepFinding;
