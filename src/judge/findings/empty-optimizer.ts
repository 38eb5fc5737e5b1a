import type { StepFinding } from './capture-finding.ts';

const advice =
  "If the run was resumed there, load the optimizer's state with the weights, or warm the learning rate up again.";

export const emptyOptimizer = {
  id: 'empty-optimizer',
  title: 'The optimizer had taken no step where the run goes on',
  severity: 'note',
  thresholds: [],
  docs: {
    summary:
      "The optimizer's state before the first recorded step is that of a beginning, and the step is not the run's first.",
    details: `Before the first recorded step, which has a number above 1, every moment, accumulator and momentum of every tensor is what the optimizer starts
with. So it had taken no step, though the run had: most often a resume that loaded the weights alone. Adam and Adagrad then take steps as long as those of a
new training, at a learning rate that may be chosen for a later one. A new training whose steps are counted on from another, as in fine-tuning, looks the
same and is well. Where the capture stores no state at all, not even that the optimizer had taken 0 steps, the recorder may have left it out, and the finding says
so. An optimizer without state is not looked at.`,
    advice,
    references: [],
  },
  watch: ({ path, empty }) => ({
    findings: () =>
      empty === null
        ? []
        : [
            {
              id: 'empty-optimizer',
              severity: 'note',
              message: empty.stored
                ? `the optimizer's state before step ${empty.before}, the first recorded one, is that of a beginning: it had taken no step`
                : `the capture stores no state of the optimizer before step ${empty.before}, the first recorded one: it had taken no step, or its state was not recorded`,
              steps: [empty.before, empty.before],
              series: null,
              measured: null,
              threshold: null,
              locations: [{ path }],
              advice,
            },
          ],
  }),
} as const satisfies StepFinding;
