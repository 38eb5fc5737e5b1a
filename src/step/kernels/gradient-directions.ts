/** The directions of gradient descent for kernels: the gradient itself, and with momentum. */
import type { DirectionCode } from './direction-code.ts';
import { get, load, op, set, vec, wide } from './wasm-assembler.ts';

export const GRADIENT: DirectionCode = {
  name: 'gradient',
  slots: 0,
  numbers: 0,
  state: () => [],
  direction: ({ x, stored }) => stored.leave(get(x)),
  estimate: { numbers: 0, divides: false, terms: () => ({ share: 1 }), operands: () => [] },
};

/** m ← μm + share·g; r = m/unit, or g + μm/unit in Nesterov's form. Numbers: μ, share, unit. */
function momentumOf(nesterov: boolean): DirectionCode {
  const state: DirectionCode['state'] = ({ x, root: mean, slots, numbers, offset, stores, stored }) => {
    const [m] = slots as [number];
    const [mu, share] = numbers as [number, number];
    return [
      ...set(
        mean,
        op(wide.add, op(wide.mul, get(mu), stored.read(m, offset)), op(wide.mul, get(share), get(x))),
      ),
      ...(stores ? stored.write(m, get(mean), offset) : []),
    ];
  };
  return {
    name: nesterov ? 'momentum, Nesterov' : 'momentum',
    slots: 1,
    numbers: 3,
    state,
    direction(place) {
      const { x, root: mean, numbers, stored } = place;
      const [mu, , unit] = numbers as [number, number, number];
      return [
        ...state(place),
        ...stored.leave(
          nesterov
            ? op(wide.add, get(x), op(wide.div, op(wide.mul, get(mu), get(mean)), get(unit)))
            : op(wide.div, get(mean), get(unit)),
        ),
      ];
    },
    estimate: {
      numbers: 1,
      divides: false,
      // What the gradient is multiplied by is taken out.
      terms([mu, share, unit]) {
        const [ofGradient, ofMean] = nesterov
          ? [1 + (mu! * share!) / unit!, (mu! * mu!) / unit!]
          : [share! / unit!, mu! / unit!];
        return { share: ofGradient, numbers: [ofMean / ofGradient] };
      },
      operands: ({ x, slots, numbers }) =>
        set(x, op(vec.add, op(vec.mul, get(numbers[0]!), load(slots[0]!)), get(x))),
    },
  };
}
export const [MOMENTUM, NESTEROV] = [momentumOf(false), momentumOf(true)] as const;
