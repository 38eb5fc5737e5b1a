// The search: sections that have every word that is typed, or another word for it. A word in the name of the page counts most,
// then one in the title of the section, then how often it comes.
const input = document.querySelector('input');
const found = document.getElementById('found');
const root = document.body.dataset.root;
// On a phone the page comes first.
if (matchMedia('(max-width: 50rem)').matches) document.querySelector('.menu').open = false;

/** Expressions that find the beginning of a word, or of one that means the same. */
function expressionsOf(word) {
  const meant = [word, ...(Object.hasOwn(WORDS, word) ? WORDS[word] : [])];
  const escaped = meant.map((one) => one.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`(?<![\\p{L}\\p{N}])(?:${escaped.join('|')})`, 'giu');
}

function scoreOf(section, words) {
  let score = 0;
  for (const word of words) {
    const count = (text) => text.match(word)?.length ?? 0;
    const times = count(section.text);
    const inPage = count(section.page) > 0;
    const inTitle = count(section.title) > 0;
    if (times === 0 && !inPage && !inTitle) return 0;
    score += (inPage ? 6 : 0) + (inTitle ? 4 : 0) + Math.min(3, Math.log2(1 + times));
  }
  return score;
}

function search(text) {
  const words = (text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).map(expressionsOf);
  if (words.length === 0) return [];
  return SECTIONS.map((section) => ({ section, score: scoreOf(section, words) }))
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score)
    .slice(0, 12)
    .map(({ section }) => section);
}

input.addEventListener('input', () => {
  const sections = search(input.value);
  found.replaceChildren(
    ...sections.map(({ page, title, to, text }) => {
      const item = document.createElement('li');
      const link = document.createElement('a');
      const more = document.createElement('small');
      link.href = `${root}/${to}`;
      link.textContent = page === title ? title : `${page}: ${title}`;
      more.textContent = text.slice(0, 120);
      link.addEventListener('click', () => {
        found.hidden = true;
      });
      item.append(link, more);
      return item;
    }),
  );
  if (sections.length === 0 && input.value.trim() !== '') {
    const none = document.createElement('li');
    none.textContent = 'Nothing found.';
    found.append(none);
  }
  found.hidden = input.value.trim() === '';
});
addEventListener('keydown', (event) => {
  if (event.key === 'Escape') found.hidden = true;
  if (event.key === '/' && document.activeElement !== input) {
    event.preventDefault();
    input.focus();
  }
});
