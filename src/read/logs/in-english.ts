/** What trainers call their quantities in Chinese, Japanese, Korean and a few languages of Europe, said in English: the rules about names know those words. */

/** Longer terms come before those that they begin with. */
const TERMS: readonly (readonly [term: string, word: string])[] = [
  ['损失函数|損失函數|損失関数|손실 함수', 'loss function'],
  ['学习率|學習率|学習率|학습률', 'learning rate'],
  ['梯度范数|梯度範數|勾配ノルム', 'grad norm'],
  ['困惑度|パープレキシティ', 'perplexity'],
  ['准确率|準確率|正解率|正確率|정확도', 'accuracy'],
  ['训练次数|訓練次數', 'iteration'],
  ['训练|訓練|トレーニング|훈련', 'train'],
  ['验证集|驗證集|验证|驗證|検証|검증', 'val'],
  ['测试集|測試集|测试|測試|テスト|테스트', 'test'],
  ['平均', 'mean'],
  ['整体|整體', 'overall'],
  ['上的', 'on'],
  ['总|總', 'total'],
  ['损失值|損失值|损失|損失|ロス|손실', 'loss'],
  ['轮次|轮数|エポック|에포크', 'epoch'],
  ['迭代次数|迭代|步数|ステップ|스텝', 'iteration'],
];
const WORDS = new Map(
  TERMS.flatMap(([terms, word]) => terms.split('|').map((term) => [term, word] as const)),
);
const TERM = new RegExp(TERMS.map(([terms]) => terms).join('|'), 'g');
/** `第 3 轮`, `第3/100轮`, `第 20 次迭代`, `第 5 步`: the number is between the words for its axis. */
const ORDINAL =
  /第\s{0,4}(?<at>\d{1,12}(?:\s{0,4}\/\s{0,4}\d{1,12})?)\s{0,4}(?:(?<epoch>轮|輪|个?epoch)|次?迭代|步)/gi;
/** Marks that are as wide as a letter. */
const MARKS: Readonly<Record<string, string>> = {
  '：': ': ',
  '，': ', ',
  '；': '; ',
  '（': ' (',
  '）': ') ',
  '＝': '=',
};

/** Whole words of German, French, Spanish, Portuguese and Italian that are not English words. */
const EUROPEAN: readonly (readonly [term: string, word: string])[] = [
  ['Trainingsverlust', 'train loss'],
  ['Validierungsverlust', 'val loss'],
  ['Testverlust', 'test loss'],
  ['Verlust|perte|p[eé]rdida|perda|perdita', 'loss'],
  ['Epoche|[eé]poque|[eé]poca', 'epoch'],
  ['Schritt|[eé]tape|passo', 'step'],
  ['Genauigkeit|exactitude|exactitud|acur[aá]cia|accuratezza', 'accuracy'],
  ['Lernrate', 'learning rate'],
];
const EUROPEAN_WORD = new RegExp(
  `(?<![A-Za-zÀ-ÿ])(?:${EUROPEAN.map(([terms]) => `(${terms})`).join('|')})(?![A-Za-zÀ-ÿ])`,
  'gi',
);
const fromEuropean = (text: string): string =>
  text.replace(
    EUROPEAN_WORD,
    (_, ...found) => EUROPEAN[found.findIndex((one) => typeof one === 'string')]![1],
  );

const FOREIGN = /[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af\uff08-\uff1d]/;
const LETTER = /[A-Za-z\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]/;
const isLetter = (char: string | undefined): boolean => char !== undefined && LETTER.test(char);

/** The text with those words in English; unchanged where it has none. */
export function inEnglish(text: string): string {
  if (!FOREIGN.test(text)) return fromEuropean(text);
  let end = -1;
  return text
    .replace(/[：，；（）＝]/g, (mark) => MARKS[mark]!)
    .replace(ORDINAL, (...found) => {
      const { at, epoch } = found.at(-1) as { at: string; epoch: string | undefined };
      return `${epoch === undefined ? 'iteration' : 'epoch'} ${at} `;
    })
    .replace(TERM, (term, at: number, whole: string) => {
      const before = at !== end && isLetter(whole[at - 1]) ? ' ' : '';
      end = at + term.length;
      return `${before}${WORDS.get(term)}${isLetter(whole[end]) ? ' ' : ''}`;
    });
}
