"""The script of the review page.

The state is the set of rejected ids and the place; both are kept in the browser's localStorage under a key that is a
hash of the candidates, so another list starts anew. Only the cards of one class are in the document at a time.
"""

SCRIPT = r"""'use strict';
(() => {
const data = JSON.parse(document.getElementById('data').textContent);
const byId = name => document.getElementById(name);
const grid = byId('grid'), tabs = byId('classes'), count = byId('count'), note = byId('note'), file = byId('file');
const all = data.classes.flatMap(group => group.images.map(image => image[0]));
const known = new Set(all);
let rejected = new Set(), current = 0, place = 0;

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(data.key) || '{}');
    rejected = new Set((kept.rejected || []).filter(id => known.has(id)));
    current = Math.min(Math.max(kept.group | 0, 0), data.classes.length - 1);
    place = kept.place | 0;
  } catch (error) {
    note.textContent = 'This browser does not keep the progress of this page: export the list before you close it.';
  }
}

function save() {
  try {
    localStorage.setItem(data.key, JSON.stringify({rejected: [...rejected], group: current, place: place}));
  } catch (error) {
    note.textContent = 'This browser does not keep the progress of this page: export the list before you close it.';
  }
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const percent = p => p.toFixed(2).replace(/^0/, '');

function card(entry, index) {
  const [id, uri, scores] = entry;
  const button = element('button', 'card');
  button.type = 'button';
  button.tabIndex = -1;
  button.dataset.index = index;
  button.setAttribute('aria-label', 'reject ' + id);
  button.title = id + '\n' + scores.map(([name, p]) => name + ' ' + percent(p)).join(', ');
  const picture = element('span', 'picture'), image = element('img');
  image.src = uri;
  image.alt = '';
  image.decoding = 'async';
  picture.append(image);
  const name = element('span', 'name');
  name.append(element('bdi', '', id));
  const facts = element('span', 'facts');
  const others = scores.length - 1;
  facts.append(element('span', '', 'p ' + percent(scores[0][1]) + (others > 0 ? ' +' + others : '')),
               element('span', 'verdict'));
  button.append(picture, name, facts);
  mark(button, id);
  return button;
}

function mark(button, id) {
  const out = rejected.has(id);
  button.setAttribute('aria-pressed', out);
  button.querySelector('.verdict').textContent = out ? 'rejected' : 'kept';
}

function totals() {
  count.textContent = (all.length - rejected.size) + ' kept, ' + rejected.size + ' rejected of ' + all.length;
  data.classes.forEach((group, i) => {
    const kept = group.images.filter(image => !rejected.has(image[0])).length;
    tabs.children[i].querySelector('span').textContent = kept + '/' + group.images.length;
    tabs.children[i].setAttribute('aria-label', group.name + ': ' + kept + ' of ' + group.images.length + ' kept');
  });
}

function show(group, focus) {
  current = group;
  [...tabs.children].forEach((tab, i) => {
    tab.setAttribute('aria-selected', i === group);
    tab.tabIndex = i === group ? 0 : -1;
  });
  grid.setAttribute('aria-label', 'Candidates for ' + data.classes[group].name);
  fit();
  grid.replaceChildren(...data.classes[group].images.map(card));
  move(place, focus);
}

// What the sticky bar covers does not count as visible.
function fit() {
  const bar = byId('bar');
  const sticky = getComputedStyle(bar).position === 'sticky';
  document.documentElement.style.scrollPaddingTop = (sticky ? bar.offsetHeight : 0) + 12 + 'px';
}

function move(index, focus) {
  const cards = grid.children;
  if (cards[place]) cards[place].tabIndex = -1;
  place = Math.min(Math.max(index, 0), cards.length - 1);
  cards[place].tabIndex = 0;
  if (focus) cards[place].focus();
  save();
}

function go(group) {
  if (group < 0 || group >= data.classes.length) return;
  place = 0;
  show(group, true);
  window.scrollTo(0, 0);
}

function toggle(index) {
  const id = data.classes[current].images[index][0];
  if (!rejected.delete(id)) rejected.add(id);
  note.textContent = '';
  mark(grid.children[index], id);
  totals();
  move(index, true);
}

function columns() {
  const top = grid.children[0].offsetTop;
  const second = [...grid.children].findIndex(other => other.offsetTop > top);
  return second < 0 ? grid.children.length : second;
}

function exportList() {
  const kept = all.filter(id => !rejected.has(id));
  const link = element('a');
  link.href = URL.createObjectURL(new Blob(kept.map(id => id + '\n'), {type: 'text/plain'}));
  link.download = data.file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  note.textContent = kept.length + ' kept images written to ' + data.file + '.';
}

async function importList(chosen) {
  const kept = new Set((await chosen.text()).split(/\r?\n/).map(line => line.trim()).filter(Boolean));
  const strange = [...kept].filter(id => !known.has(id)).length;
  if (strange === kept.size) {
    note.textContent = chosen.name + ' names none of these images; nothing was changed.';
    return;
  }
  rejected = new Set(all.filter(id => !kept.has(id)));
  totals();
  show(current, true);
  note.textContent = chosen.name + ': ' + (kept.size - strange) + ' images kept, ' + rejected.size + ' rejected'
    + (strange ? '; ' + strange + ' more of its lines are not on this page.' : '.');
}

const steps = {ArrowLeft: () => place - 1, ArrowRight: () => place + 1, ArrowUp: () => place - columns(),
               ArrowDown: () => place + columns(), Home: () => 0, End: () => grid.children.length - 1};

document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onTool = event.target.closest && event.target.closest('.tool, #classes button');
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in steps) {
    if (onTool && onTool.parentNode === tabs) {
      if (key === 'ArrowLeft' || key === 'ArrowRight') {
        const next = current + (key === 'ArrowRight' ? 1 : -1);
        go(next);
        tabs.children[current].focus();
      }
    } else {
      const index = steps[key]();
      if (index >= 0 && index < grid.children.length) move(index, true);
    }
  } else if (key === ' ' && onTool) {
    return;
  } else if ((key === ' ' || key === 'x') && !event.repeat) {
    toggle(place);
  } else if (key === 'n') {
    go(current + 1);
  } else if (key === 'p') {
    go(current - 1);
  } else if (key === 'e') {
    exportList();
  } else if (key !== ' ') {
    return;
  }
  event.preventDefault();
});
// A button would press itself a second time when the space bar comes up.
document.addEventListener('keyup', event => {
  if (event.key === ' ' && event.target.closest && event.target.closest('.card')) event.preventDefault();
});
grid.addEventListener('click', event => {
  const button = event.target.closest('.card');
  if (button) toggle(Number(button.dataset.index));
});
byId('next').addEventListener('click', () => go((current + 1) % data.classes.length));
byId('export').addEventListener('click', exportList);
byId('import').addEventListener('click', () => file.click());
file.addEventListener('change', () => {
  if (file.files.length) importList(file.files[0]);
  file.value = '';
});
window.addEventListener('resize', fit);
data.classes.forEach((group, i) => {
  const tab = element('button', '', group.name);
  tab.type = 'button';
  tab.setAttribute('role', 'tab');
  tab.setAttribute('aria-controls', 'grid');
  tab.append(element('span'));
  tab.addEventListener('click', () => go(i));
  tabs.append(tab);
});
restore();
totals();
show(current, true);
})();
"""
