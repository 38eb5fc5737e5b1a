// The search: sections whose words begin with every word that is typed, those with one in the title first.
const input = document.querySelector('input');
const found = document.getElementById('found');
const root = document.body.dataset.root;
// On a phone the page comes first.
if (matchMedia('(max-width: 50rem)').matches) document.querySelector('.menu').open = false;

function search(text) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  if (words.length === 0) return [];
  const begins = words.map((word) => new RegExp(`(?<![\\p{L}\\p{N}])${word}`, 'iu'));
  return SECTIONS.map((section) => {
    const title = `${section.page} ${section.title}`;
    const inTitle = begins.filter((word) => word.test(title)).length;
    return { section, score: begins.every((word) => word.test(title) || word.test(section.text)) ? 1 + inTitle : 0 };
  })
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
