/**
 * Layouts that print a number before its name, or a name next to a number that is not its own, rewritten as names and
 * numbers. A pattern is anchored to the line or to its marker, and tried only in lines with the marker: it scans a
 * line once.
 */

import { numberOfText } from './number-text.ts';

interface Layout {
  readonly marker: string;
  readonly line: RegExp;
  readonly as: string | ((groups: Readonly<Record<string, string>>) => string);
}

/** Losses of a GAN's players: they go up and down as they play, and do not measure how well they do. */
const ADVERSARIAL = /^(?:D(?:_\w+)?|G|G_GAN|G_[AB])$/;

/** The total of a loss from its parts, as text. One part stays as printed; a part without a number replaces the sum. */
function sumOf(parts: readonly string[]): string {
  const numbers = parts.map((part) => numberOfText(part));
  const other = numbers.indexOf(undefined);
  if (other >= 0) return parts[other]! || NONE;
  return parts.length === 1 ? parts[0]! : `${(numbers as number[]).reduce((sum, one) => sum + one, 0)}`;
}
/** How a cell without a value is written. */
const NONE = 'None';

/** The columns of YOLO's results.txt after the memory. */
const YOLO_RESULTS = [
  ...['box_loss', 'obj_loss', 'cls_loss', 'total_loss', 'labels', 'img_size', 'precision', 'recall'],
  ...['mAP_50', 'mAP_50-95', 'val box_loss', 'val obj_loss', 'val cls_loss'],
];

/** Each is tried in the lines with its marker. */
export const LAYOUTS: readonly Layout[] = [
  {
    // ESPnet: 1epoch:train:101-200batch: iter_time=1.2e-04, loss=80.1
    marker: 'epoch:train:',
    line: /(?<!\d)(?<epoch>\d{1,9})epoch:train:\d{1,12}-(?<batch>\d{1,12})batch: /,
    as: 'epoch $<epoch>, batch $<batch>, ',
  },
  {
    // darknet: 3: 812.123456, 930.123456 avg, 0.001000 rate, 3.2 seconds, 192 images
    marker: ' avg',
    line: /^\s{0,20}(?<step>\d{1,12})(?:, \d{1,12}\.\d{1,12})?: (?<loss>[^,\s]{1,40}), (?<mean>[^,\s]{1,40}) avg(?: loss)?, (?<rate>[^,\s]{1,40}) rate, .*$/,
    as: 'step: $<step>, loss: $<loss>, avg: $<mean>, rate: $<rate>',
  },
  {
    // Kaldi: Average objective function for 'output' for minibatches 0-9 is -4.1 over 1280 frames.
    marker: 'for minibatches ',
    line: /^[^']{0,200}objective function for '(?<name>[^']{1,80})' for minibatches \d{1,12}-(?<last>\d{1,12}) is (?<value>\S{1,40})(?<rest>\s.*)?$/,
    as: 'minibatch: $<last>, $<name> objective: $<value>',
  },
  {
    // CycleGAN and pix2pix: (epoch: 1, iters: 100, time: 0.12, data: 0.002) G_GAN: 0.7 G_L1: 32.1 D_real: 0.6 D_fake: 0.7
    marker: ', iters: ',
    line: /^\s{0,8}\(epoch: (?<epoch>\d{1,9}), iters: (?<batch>\d{1,12}), time: [^)]{1,80}\) (?<pairs>.*)$/s,
    as: ({ epoch = '', batch = '', pairs = '' }) =>
      `epoch: ${epoch}, batch: ${batch}, ${pairs.replace(
        /(?<!\w)([A-Za-z]\w{0,80}): /g,
        (told, name: string) => (ADVERSARIAL.test(name) ? told : `${name}_loss: `),
      )}`,
  },
  {
    // fb.resnet.torch: | Epoch: [1][1/5004]    Time 0.250  Data 0.001  Err 6.9912  top1  99.609  top5  98.828
    marker: '  Err ',
    line: /^(?<head>\s{0,8}\| Epoch: \[\d{1,9}\]\[\d{1,9}\/\d{1,9}\] .{0,120}? {2})Err (?<rest>.*)$/s,
    as: '$<head>Err loss $<rest>',
  },
  {
    // fastText: Progress:  12.3% words/sec/thread:  90123 lr:  0.087654 avg.loss:  2.345678 ETA:   0h 0m 9s
    marker: 'words/sec/thread:',
    line: /^\s{0,8}Progress: {1,4}(?<whole>\d{1,3})\.(?<tenth>\d)% {1,4}(?<rest>words\/sec\/thread: .*)$/s,
    as: 'permille: $<whole>$<tenth>, $<rest>',
  },
  {
    // Names in brackets behind their numbers: [  1/100] train: 2.3031 (loss) 0.1000 (acc) | valid: 2.2999 (loss) 0.1000 (acc)
    marker: ' (loss)',
    line: /^(?<whole>.{1,2000})$/s,
    as: ({ whole = '' }) =>
      whole.replace(/(?<!\S)(\S{1,40}) \(([A-Za-z]\w{0,20})\)/g, (told, number: string, name: string) =>
        name !== 'loss' && numberOfText(number) === undefined ? told : `${name}: ${number}`,
      ),
  },
  {
    // PyTorch's tutorials: [2,  4000] loss: 1.853; progressive GANs: [0 :    100] loss G : 14.9 loss D : 7.5
    marker: '] loss',
    line: /^\[(?<epoch>\d{1,9})\s{0,4}[,:]\s{0,12}(?<batch>\d{1,12})\] loss/,
    as: 'epoch $<epoch>, batch $<batch>, loss',
  },
  {
    // cuda-convnet: 1.2... logprob:  0.502804, 0.117188 (1.455 sec)
    marker: '... ',
    line: /^(?<epoch>\d{1,6})\.(?<batch>\d{1,9})\.\.\. (?<name>\w{1,40}): {1,4}(?<loss>.{0,60}), (?<error>[^\s,]{1,40})(?: \(.{0,400})?$/,
    as: ({ epoch = '', batch = '', name = '', loss = '', error = '' }) =>
      `epoch ${epoch}, batch ${batch}, ${name} loss: ${loss || NONE}, error: ${error}`,
  },
  {
    // CatBoost before 0.7, its numbers and the next word as one: 61:     learn 0.1211191019passed: 17.7 sec
    marker: ' learn ',
    line: /^\s{0,8}(?<step>\d{1,12}):\s{1,8}learn (?<learn>\S{0,40}?)(?<rest>(?:passed|test|bestTest)[ :].{0,400})$/,
    as: ({ step = '', learn = '', rest = '' }) => `iteration ${step}, learn: ${learn || NONE}, ${rest}`,
  },
  {
    // Learning to See in the Dark, DALLE-pytorch, and who prints the counters alone: 334 1 Loss=0.012 Time=0.042, 0 10 loss - 5.123
    marker: 'oss',
    line: /^\s{0,8}(?<epoch>\d{1,9}) {1,8}(?<batch>\d{1,9}),? {1,8}(?<name>(?:\w{1,20}[ _-])?[Ll]oss)(?: {0,2}[=:]| - )/,
    as: 'epoch: $<epoch>, batch: $<batch>, $<name>:',
  },
  {
    // Tacotron 2: Train loss 120 0.541 Grad Norm 1.2, and Validation loss 1000:  0.612
    marker: 'oss ',
    line: /^\s{0,20}(?<name>[A-Za-z]{1,20} loss) (?<step>\d{1,12}):?\s{1,8}(?=[-+]?(?:\d{1,12}\.|nan\b|inf\b)|\S{1,40} Grad Norm )/i,
    as: 'step $<step>, $<name> ',
  },
  {
    // DeepXDE, the parts of each loss in brackets: 1000      [2.81e+00, 1.41e+00]    [3.09e+00, 1.48e+00]    [9.12e-01]
    marker: ']    [',
    line: /^(?<step>\d{1,12}) {1,9}\[(?<train>[^\][]{1,400})\] {4,400}\[(?<test>[^\][]{1,400})\] {4,400}\[[^\][]{0,400}\] {0,400}$/,
    as: ({ step = '', train = '', test = '' }) => {
      const parts = train.split(', ');
      const told =
        parts.length === 1
          ? []
          : parts.map((part, k) => `loss_term${k + 1}: ${numberOfText(part) === undefined ? NONE : part}`);
      return [
        `step: ${step}`,
        `train loss: ${sumOf(parts)}`,
        `test loss: ${sumOf(test.split(', '))}`,
        ...told,
      ].join(', ');
    },
  },
  {
    // Deeplearning4j: Score at iteration 100 is 0.6931
    marker: 'Score at iteration ',
    line: /Score at iteration (?<step>\d{1,15}) is (?<score>\S{0,40})$/,
    as: ({ step = '', score = '' }) => `iteration: ${step}, score loss: ${score || NONE}`,
  },
  {
    // PyTorch-YOLOv3: [Epoch 0/30, Batch 0/7329] [Losses: x 0.27, y 0.25, w 4.8, ..., total 15.1, recall: 0.1, precision: 0.2]
    marker: '] [Losses: ',
    line: /^\[Epoch (?<epoch>\d{1,9})\/\d{1,9}, Batch (?<batch>\d{1,9})\/(?<of>\d{1,9})\] \[Losses: (?<parts>[^\]:]{1,400}), recall(?<rest>: .{1,200})\]$/,
    as: ({ epoch = '', batch = '', of = '', parts = '', rest = '' }) =>
      `Epoch ${epoch}, Batch ${batch}/${of}, ${parts.replace(/(?<=^|, )([a-z]\w{0,20}) /g, '$1_loss ')}, recall${rest}`,
  },
  {
    // LightGCN of PyTorch: EPOCH[1/1000] loss0.682-|Sample:12.11|
    marker: '] loss',
    line: /^EPOCH\[(?<epoch>\d{1,9})\/\d{1,9}\] loss(?<loss>[^|]{0,40})-\|(?<rest>.{0,200})$/,
    as: ({ epoch = '', loss = '', rest = '' }) => `epoch ${epoch}, loss: ${loss || NONE}, ${rest}`,
  },
  {
    // Flower, the loss of the server after a round: fit progress: (1, 2.3035, {'accuracy': 0.1}, 12.3)
    marker: 'fit progress: (',
    line: /^.{0,80}fit progress: \((?<round>\d{1,9}), (?<loss>[^{}()]{0,40}), \{(?<rest>[^{}]{0,1000})\}, [\d.]{1,30}\)$/,
    as: ({ round = '', loss = '', rest = '' }) => `round: ${round}, loss: ${loss || NONE}, ${rest}`,
  },
  {
    // NGCF, KGAT and LightGCN of TensorFlow, the total and its parts: Epoch 9 [25.6s + 5.1s]: train==[30.12=29.10 + 1.02], recall=[0.1, 0.2]
    marker: ': train==[',
    line: /^Epoch (?<epoch>\d{1,9}) \[[^\]]{1,40}\]: train==\[(?<loss>[^=\]\s]{0,40})=(?<parts>[^\]]{0,200})\](?<rest>.{0,2000})$/,
    as: ({ epoch = '', loss = '', rest = '' }) => `epoch ${epoch}, train loss: ${loss || NONE}${rest}`,
  },
  {
    // EDSR and its kin, each loss by its type: [1600/16000]\t[L1: 12.3456]\t30.1+0.2s
    marker: ']\t[',
    line: /^(?<batch>\[\d{1,9}\/\d{1,9}\])\t(?<losses>(?:\[\w{1,20}: [^\][]{0,40}\]){1,20})\t(?<rest>.{0,80})$/,
    as: ({ batch = '', losses = '', rest = '' }) =>
      `${batch} ${losses.replace(/\[(\w{1,20}): ([^\][]{0,40})\]/g, (_, name: string, loss: string) => `${name} loss: ${loss.trim() || NONE}, `)}${rest}`,
  },
  {
    // SASRec of PyTorch: loss in epoch 1 iteration 12: 1.3862
    marker: 'loss in epoch ',
    line: /^\s{0,20}loss in epoch (?<epoch>\d{1,9}) (?<axis>iteration|step|batch) (?<step>\d{1,15}): {0,8}(?<rest>.{0,400})$/,
    as: ({ epoch = '', axis = '', step = '', rest = '' }) =>
      `epoch ${epoch}, ${axis} ${step}, loss: ${rest || NONE}`,
  },
  {
    // The results.txt of YOLOv5 and YOLOv7, without names:       0/99     0.56G   0.01204  0.003545         0   0.01559 ...
    marker: 'G ',
    line: /^\s{0,20}(?<epoch>\d{1,6})\/\d{1,6} {1,12}\d{1,6}(?:\.\d{1,6})?G {1,20}(?<cells>(?:\S{1,20} {1,20}){12}\S{1,20}) {0,20}$/,
    as: ({ epoch = '', cells = '' }) =>
      [`epoch: ${epoch}`, ...cells.split(/ +/).map((cell, k) => `${YOLO_RESULTS[k]}: ${cell}`)].join(', '),
  },
  {
    // YOLACT, its losses by their first letters and T the total: [  0]      10 || B: 6.071 | C: 10.928 | M: 4.857 | T: 24.284 || ETA: 0:12:11 || timer: 0.512
    marker: ' || ETA: ',
    line: /^\[ {0,8}(?<epoch>\d{1,9})\] {1,12}(?<step>\d{1,12}) \|\| (?<parts>(?:[A-Z]: [^\s|]{0,40} \| ){0,12})T: (?<total>[^\s|]{0,40}) \|\| (?<rest>.{0,200})$/,
    as: ({ epoch = '', step = '', parts = '', total = '', rest = '' }) =>
      `epoch ${epoch}, step ${step}, total loss: ${total || NONE}, ${parts.replace(/([A-Z]): (\S{0,40}) \| /g, '$1_loss: $2, ')}${rest}`,
  },
  {
    // XLM, each objective by its language; the number in front counts updates: -       5 -   56.87 sent/s -  2164.25 words/s - MLM-en:  9.6898 || MLM-fr:  8.8403 -  - model LR: 1.0000e-04
    marker: ' words/s - ',
    line: /^(?<head>.{0,80}?) - {1,12}(?<step>\d{1,12}) - {1,12}\S{1,20} sent\/s - {1,12}\S{1,20} words\/s - (?<losses>[A-Z]{2,4}-[^|]{0,400}(?:\|\| [^|]{0,400}){0,40}) - (?<rest>[A-Za-z].{0,200})$/,
    as: ({ step = '', losses = '', rest = '' }) =>
      `step ${step}, ${losses
        .replace(/ - $/, '')
        .split(' || ')
        .map((one) =>
          one.replace(
            /^([\w-]{1,40}): {0,8}(\S{0,40})$/,
            (_, name: string, loss: string) => `${name} loss: ${loss || NONE}`,
          ),
        )
        .join(', ')}, ${rest}`,
  },
  {
    // llm.c, main.log: s:10 trl:9.3 lr:6e-7 norm:3.8
    marker: 's:',
    line: /(?<!\w)s:(?<step>\d{1,15}) (?=(?:tel|trl|eval):)/,
    as: 'step:$<step> ',
  },
  {
    // GRU4Rec, where it stops: 30: NaN error!
    marker: 'NaN error!',
    line: /^(?:Epoch )?\d{1,9}: NaN error!$/,
    as: 'loss: nan',
  },
  {
    // fairseq, of an epoch: | epoch 001 | loss 8.4 | num_updates 1000 | lr 0.0001; of an evaluation: … | valid on 'valid' subset | loss 5.9 | …
    marker: '| num_updates ',
    line: /^(?<head>.{0,200}?epoch \d{1,9} \|)(?<valid> valid on '[^']{1,80}' subset \|)?(?<cells> .{0,4000})$/s,
    as: ({ head = '', valid, cells = '' }) =>
      `${head}${valid ?? ''}${cells
        .replace(/(?<=^ |\| )(?=[a-z])/g, valid === undefined ? 'train_' : 'valid_')
        .replace(/(?:train|valid)_num_updates /, 'updates ')}`,
  },
  {
    // fairseq, within an epoch: | epoch 001:  100 / 1000 loss=8.4, ppl=250, num_updates=100, lr=1.2e-05
    marker: 'num_updates=',
    line: /\bnum_updates(?==\d)/,
    as: 'updates',
  },
  {
    // DLRM prints the result of a test in the line after, too:  accuracy 77.430 %, best 77.430 %
    marker: ' %, best ',
    line: /^\s{0,8}(?=accuracy )(?<accuracy>accuracy [\d.]{1,20} %), (?=best )/,
    as: 'test $<accuracy>, test ',
  },
];

/** The line as names and numbers; the line itself where no layout matches. */
export function asPairs(text: string): string {
  for (const { marker, line, as } of LAYOUTS)
    if (text.includes(marker) && line.test(text))
      return typeof as === 'string'
        ? text.replace(line, as)
        : text.replace(line, (...found) => as(found.at(-1) as Record<string, string>));
  return text;
}
