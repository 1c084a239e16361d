"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
// A box is [name, bytes, files, boxes or 0, rest's bytes, rest's files].
const NAME = 0, BYTES = 1, FILES = 2, KIDS = 3, RESTBYTES = 4, RESTFILES = 5;
const SVG = "http://www.w3.org/2000/svg";

function bytes(n) {
  if (n < 1000) return n + " B";
  let unit = -1;
  while (n >= 1000 && unit < 5) { n /= 1000; unit++; }
  return n.toFixed(1) + " " + "kMGTPE"[unit] + "B";
}
const count = n => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const files = n => count(n) + (n === 1 ? " file" : " files");

// All text goes in as text nodes.
function el(tag, attrs, ...kids) {
  const e = document.createElement(tag);
  for (const k in attrs) e.setAttribute(k, attrs[k]);
  e.append(...kids);
  return e;
}
function svg(tag, attrs, text) {
  const e = document.createElementNS(SVG, tag);
  for (const k in attrs) e.setAttribute(k, attrs[k]);
  if (text !== undefined) e.textContent = text;
  return e;
}

// --- the treemap ---

// squarify lays areas out in rows whose boxes are nearly square (Bruls, Huizing, van Wijk 2000).
function squarify(items, x, y, w, h) {
  const total = items.reduce((sum, i) => sum + i.size, 0);
  const out = [];
  if (total <= 0 || w <= 0 || h <= 0) return out;
  const scale = w * h / total;
  let at = 0;
  while (at < items.length) {
    const side = Math.min(w, h);
    let row = [], area = 0, worst = Infinity;
    for (; at < items.length; at++) {
      const a = items[at].size * scale;
      const sum = area + a, least = a, most = row.length ? row[0].a : a;
      const next = Math.max(side * side * most / (sum * sum), sum * sum / (side * side * least));
      if (row.length && next > worst) break;
      worst = next; area = sum; row.push({ item: items[at], a });
    }
    const thick = side > 0 ? area / side : 0;
    let along = 0;
    for (const r of row) {
      const len = thick > 0 ? r.a / thick : 0;
      out.push(w >= h ? { item: r.item, x, y: y + along, w: thick, h: len } : { item: r.item, x: x + along, y, w: len, h: thick });
      along += len;
    }
    if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
    if (w < .01 || h < .01) break;
  }
  return out;
}

let tree = 0;      // number of the tree that is shown
let path = [];     // boxes from the root to the one that is shown
const here = () => path[path.length - 1];
const pathText = () => "/" + path.slice(1).map(b => b[NAME]).join("/");
const opens = b => Array.isArray(b[KIDS]) && b[KIDS].length > 0;

function itemsOf(box) {
  const items = (box[KIDS] || []).map(b => ({ box: b, size: b[BYTES] }));
  if (box[RESTBYTES] > 0) items.push({ rest: box, size: box[RESTBYTES] });
  return items.sort((a, b) => b.size - a.size);
}
function label(item, of) {
  const share = of > 0 ? " (" + (100 * item.size / of).toFixed(1) + " %)" : "";
  if (item.rest) return "smaller ones: " + bytes(item.size) + ", " + files(item.rest[RESTFILES]) + share;
  const b = item.box, dir = b[KIDS] !== 0;
  return b[NAME] + (dir ? "/" : "") + ": " + bytes(b[BYTES]) + (dir ? ", " + files(b[FILES]) : "") + share;
}
// fit shortens text to a width, by what letters take at most.
function fit(text, width) {
  const most = Math.floor(width / 7.4);
  const letters = Array.from(text);
  if (letters.length <= most) return text;
  return most < 4 ? "" : letters.slice(0, most - 1).join("") + "…";
}

// nearlyAll tells whether an item is nearly all of a box: then colors and levels begin in it, or one color would be all there is.
const nearlyAll = (item, box) => item.box && item.size > .9 * box[BYTES];

// inside draws what is in a box; directories with room for it have their names. Without a color its items have their own.
function inside(g, box, x, y, w, h, color, depth) {
  if (w < 14 || h < 14 || depth > 3) return;
  for (const [i, r] of squarify(itemsOf(box), x, y, w, h).entries()) {
    if (r.w < 2 || r.h < 2) continue;
    const dir = r.item.box && r.item.box[KIDS] !== 0, alone = !color && nearlyAll(r.item, box);
    const own = color || "c" + i % 8;
    g.append(svg("rect", { x: r.x, y: r.y, width: r.w, height: r.h, class: (r.item.rest ? "rest" : own) + (dir ? " d" : "") }));
    const name = r.item.box && r.w > 50 && r.h > 26 ? fit(r.item.box[NAME] + (dir ? "/" : ""), r.w - 6) : "";
    const head = name === "" ? 1 : 15;
    if (name !== "") g.append(svg("text", { x: r.x + 4, y: r.y + 12 }, name));
    if (dir && opens(r.item.box)) inside(g, r.item.box, r.x + 2, r.y + head + 1, r.w - 4, r.h - head - 3, alone ? "" : own, alone ? depth : depth + 1);
  }
}

// named says what is shown.
function named() {
  const box = here();
  $("map-name").textContent = pathText() + ": " + bytes(box[BYTES]) + ", " + files(box[FILES]) + (itemsOf(box).length ? "" : "; there is nothing in it to show");
}

// paint draws an item of the box that is shown, for the eye alone.
function paint(picture, r, i, box) {
  const dir = r.item.box && opens(r.item.box), color = r.item.rest ? "rest" : "c" + i % 8;
  picture.append(svg("rect", { x: r.x, y: r.y, width: r.w, height: r.h, class: "top " + color }));
  const head = r.w > 40 && r.h > 18 ? 18 : 0;
  if (head) {
    const name = r.item.rest ? "smaller ones" : r.item.box[NAME] + (r.item.box[KIDS] !== 0 ? "/" : "");
    const whole = name + "  " + bytes(r.item.size);
    picture.append(svg("text", { x: r.x + 4, y: r.y + 13, class: "top" }, fit(whole, r.w - 8) === whole ? whole : fit(name, r.w - 8)));
  }
  const alone = nearlyAll(r.item, box);
  if (dir && r.h > head + 20) inside(picture, r.item.box, r.x + 3, r.y + head, r.w - 6, r.h - head - 3, alone ? "" : color, alone ? 0 : 1);
}

// button is what takes the focus and the clicks of an item. Its title is its name for those who hear the page.
function button(r, i, box) {
  const dir = r.item.box && opens(r.item.box);
  const g = svg("g", { role: dir ? "button" : "img", tabindex: i === 0 ? 0 : -1 });
  g.append(svg("title", {}, label(r.item, box[BYTES])));
  const edge = Math.min(2, r.w / 4, r.h / 4); // the line around it stays within
  g.append(svg("rect", { x: r.x + edge, y: r.y + edge, width: r.w - 2 * edge, height: r.h - 2 * edge, class: "f" }));
  g.place = r;
  if (dir) g.addEventListener("click", () => open(r.item.box));
  return g;
}

function draw(focus) {
  const map = $("map"), w = Math.max(200, Math.floor($("mapbox").clientWidth)), h = Math.round(Math.max(240, Math.min(w * .56, 560)));
  map.setAttribute("viewBox", "0 0 " + w + " " + h);
  map.setAttribute("height", h);
  map.replaceChildren();
  const box = here(), items = itemsOf(box);
  named();
  const picture = svg("g", { class: "in", "aria-hidden": "true" });
  const buttons = squarify(items, 0, 0, w, h).map((r, i) => {
    paint(picture, r, i, box);
    return button(r, i, box);
  });
  map.append(picture, ...buttons);
  if (focus && buttons.length) buttons[0].focus();
  crumbs();
  list(items, box);
  $("up").disabled = path.length < 2;
}

function crumbs() {
  $("crumbs").replaceChildren(...path.map((b, i) => {
    const last = i === path.length - 1;
    const button = el("button", last ? { type: "button", "aria-current": "location" } : { type: "button" }, i === 0 ? "/" : b[NAME] + "/");
    button.addEventListener("click", () => { path = path.slice(0, i + 1); draw(); });
    return button;
  }));
}

function list(items, box) {
  $("list").replaceChildren(...items.map(item => {
    const name = el("th", { scope: "row", class: "path" });
    if (item.rest) name.append("smaller ones");
    else if (opens(item.box)) {
      const button = el("button", { type: "button" }, item.box[NAME] + "/");
      button.addEventListener("click", () => { open(item.box, true); $("crumbs").lastChild.focus(); });
      name.append(button);
    } else name.append(item.box[NAME] + (item.box[KIDS] !== 0 ? "/" : ""));
    const n = item.rest ? item.rest[RESTFILES] : item.box[FILES];
    return el("tr", {}, name, el("td", { class: "n" }, bytes(item.size)), el("td", { class: "n" }, count(n)),
      el("td", { class: "n" }, (100 * item.size / (box[BYTES] || 1)).toFixed(1) + " %"));
  }));
}

function open(box, still) { path.push(box); draw(!still); }
function up() { if (path.length > 1) { path.pop(); draw(true); } }

// move focuses the nearest box in a direction.
function move(from, key) {
  const mid = r => [r.x + r.w / 2, r.y + r.h / 2], [x, y] = mid(from.place);
  let best, least = Infinity;
  for (const g of $("map").querySelectorAll("g[tabindex]")) {
    const [u, v] = mid(g.place), dx = u - x, dy = v - y;
    const along = { ArrowLeft: -dx, ArrowRight: dx, ArrowUp: -dy, ArrowDown: dy }[key];
    const across = key === "ArrowLeft" || key === "ArrowRight" ? Math.abs(dy) : Math.abs(dx);
    if (g !== from && along > .5 && along + 2 * across < least) { least = along + 2 * across; best = g; }
  }
  if (!best) return;
  from.setAttribute("tabindex", -1);
  best.setAttribute("tabindex", 0);
  best.focus();
}
$("map").addEventListener("keydown", e => {
  const g = e.target.closest("g[tabindex]");
  if (!g || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key.startsWith("Arrow")) move(g, e.key);
  else if (e.key === "Enter" || e.key === " ") { if (g.getAttribute("role") === "button") open(g.place.item.box); }
  else if (e.key === "Backspace" || e.key === "Escape") up();
  else return;
  e.preventDefault();
});
$("map").addEventListener("focusin", e => {
  const g = e.target.closest("g[tabindex]");
  if (g) $("map-at").textContent = label(g.place.item, here()[BYTES]);
});
$("map").addEventListener("focusout", e => { if (!$("map").contains(e.relatedTarget)) $("map-at").textContent = ""; });
$("up").addEventListener("click", up);
data.trees.forEach((t, i) => $("tree").append(el("option", { value: i }, i === 0 ? "the whole image" : "layer " + data.layers[i - 1] + " (" + bytes(t[BYTES]) + ")")));
function show(n) { tree = n; path = [data.trees[tree]]; draw(); }
$("tree").addEventListener("change", e => show(Number(e.target.value)));
let width = 0;
new ResizeObserver(() => {
  const now = $("mapbox").clientWidth;
  if (now !== width) { width = now; draw(); }
}).observe($("mapbox"));
show(0);

// --- the search ---

const most = 200; // results that are shown
const words = { a: "added", r: "replaced", m: "stored again with the same content", p: "passed", d: "deleted" };
let paths; // a promise of what load returns

async function load() {
  const packed = Uint8Array.from(atob(data.search), c => c.charCodeAt(0));
  const text = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  const names = [], marks = [], parents = new Int32Array(data.known), above = [];
  for (let at = 0; at < text.length;) {
    const end = text.indexOf("\n", at), one = text.indexOf(" ", at), two = text.indexOf(" ", one + 1);
    const depth = parseInt(text.slice(at, one), 36);
    parents[names.length] = depth ? above[depth - 1] : -1;
    above[depth] = names.length;
    marks.push(text.slice(one + 1, two));
    names.push(text.slice(two + 1, end));
    at = end + 1;
  }
  return { names, lower: names.map(n => n.toLowerCase()), marks, parents };
}
function pathOf(all, i) {
  const parts = [];
  for (; i >= 0; i = all.parents[i]) parts.push(all.names[i]);
  return "/" + parts.reverse().join("/");
}
// fits: of a part of a path, its end begins the name, and what is before that are the names above. No path is made for it:
// there are a million.
function fits(all, i, parts) {
  if (!all.lower[i].startsWith(parts[parts.length - 1])) return false;
  for (let k = parts.length - 2; k > 0; k--) {
    i = all.parents[i];
    if (i < 0 || all.lower[i] !== parts[k]) return false;
  }
  i = all.parents[i];
  return parts[0] === "" || i >= 0 && all.lower[i].endsWith(parts[0]);
}
function find(all, query) {
  const parts = query.toLowerCase().split("/"), hits = [];
  let n = 0;
  for (let i = 0; i < all.names.length; i++) {
    if (parts.length > 1 ? !fits(all, i, parts) : !all.lower[i].includes(parts[0])) continue;
    if (n++ < most) hits.push(i);
  }
  return { hits, n };
}
function said(mark) {
  const [layer, letter, size] = mark.split("."), kind = letter.toLowerCase();
  const what = words[kind] + " by layer " + data.layers[parseInt(layer, 36)];
  if (kind === "d") return what;
  return what + (letter === kind ? ", " + bytes(parseInt(size, 36)) : ", a directory");
}
function result(all, i) {
  const marks = all.marks[i] === "-" ? [] : all.marks[i].split(",");
  const gone = marks.length > 0 && marks[marks.length - 1].split(".")[1].toLowerCase() === "d";
  const li = el("li", {}, el("div", { class: gone ? "p gone" : "p" }, el("bdi", {}, pathOf(all, i))));
  if (gone) li.append(el("span", { class: "tag" }, "gone"));
  li.append(el("p", { class: "m" }, marks.length ? marks.map(said).join("; ") : "a directory that no layer has an entry for: it only leads to others"));
  return li;
}
// give shows what a search found. An empty list is no stop of the keyboard.
function give(results, found) {
  $("results").replaceChildren(...results);
  $("results").parentElement.hidden = results.length === 0;
  $("found").textContent = found;
}
let asked = 0;
async function search() {
  const mine = ++asked, query = $("search").value;
  if (query.trim() === "") { give([], ""); return; }
  try {
    paths = paths || load();
    const all = await paths;
    if (mine !== asked) return;
    const { hits, n } = find(all, query);
    give(hits.map(i => result(all, i)), n === 0 ? "No path has that in its name." : count(n) + (n === 1 ? " path" : " paths") + (n > most ? ", the first " + most + " of them:" : ""));
  } catch (err) {
    paths = undefined;
    give([], "This browser cannot unpack the list of files: " + err);
  }
}
let timer;
$("search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 120); });
$("search-form").addEventListener("submit", e => { e.preventDefault(); clearTimeout(timer); search(); });
})();
