package browser

// layoutScript looks for what is wider than the page, and for boxes that lie on each other.
const layoutScript = `(() => {
	const wrong = [], wide = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth > wide) wrong.push("the page scrolls sideways: " + document.documentElement.scrollWidth + " > " + wide);
	const scrolls = e => { for (; e; e = e.parentElement) if (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX)) return true; return false; };
	for (const e of document.querySelectorAll("body *")) {
		if (e.closest("script,style,.sr,.skip,svg")) continue;
		const r = e.getBoundingClientRect();
		if (r.width && (r.right > wide + 1 || r.left < -1) && !scrolls(e.parentElement)) wrong.push(e.tagName + " " + e.className + " leaves the page: " + r.left + " to " + r.right);
	}
	const apart = (list, what) => {
		const all = list.filter(e => e.getBoundingClientRect().height > 0);
		for (let i = 0; i < all.length; i++) for (let j = i + 1; j < all.length; j++) {
			const a = all[i].getBoundingClientRect(), b = all[j].getBoundingClientRect();
			if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) wrong.push(what + " overlap: " + all[i].textContent.slice(0, 30) + " | " + all[j].textContent.slice(0, 30));
		}
	};
	apart([...document.querySelectorAll("header, section, footer")], "sections");
	for (const list of document.querySelectorAll(".facts, .layers, .steps, .tools, section, header > nav")) apart([...list.children].filter(e => !e.closest(".sr")), "parts");
	return wrong;
})()`

// contrastScript looks for text with a contrast of less than 4.5 to what is behind it (WCAG 2.2, 1.4.3).
const contrastScript = `(() => {
	const wrong = new Set();
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
	const light = ([r, g, b]) => { const f = v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
	const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
	for (const e of document.querySelectorAll("body *")) {
		if (e.closest("script,style,.sr,svg,:disabled,option")) continue;
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
		const c = ratio(parse(getComputedStyle(e).color), behind(e));
		if (c < 4.5) wrong.add(e.tagName + " " + e.className + ": " + c.toFixed(2));
	}
	for (const e of document.querySelectorAll("#map text")) {
		const rect = e.previousElementSibling;
		const c = ratio(parse(getComputedStyle(e).fill), parse(getComputedStyle(rect).fill));
		if (c < 4.5) wrong.add("treemap " + rect.getAttribute("class") + ": " + c.toFixed(2));
	}
	// What is a picture has 3 (1.4.11).
	for (const e of document.querySelectorAll(".bar rect:not(.track)")) {
		const c = ratio(parse(getComputedStyle(e).fill), behind(e.closest("li, th")));
		if (c < 3) wrong.add("bar " + e.getAttribute("class") + ": " + c.toFixed(2));
	}
	return [...wrong];
})()`

// structureScript looks at landmarks, headings, names and tables, and that nothing came from a file's name.
const structureScript = `(() => {
	const wrong = [], all = s => [...document.querySelectorAll(s)];
	for (const [s, n] of [["h1", 1], ["main", 1], ["body > header", 1], ["body > footer", 1], ["script", 2], ["style", 1], ["img,iframe,object,embed,link,base", 0]])
		if (all(s).length !== n) wrong.push(s + ": " + all(s).length + ", want " + n);
	if (window.hacked !== undefined) wrong.push("a file's name became a script");
	let level = 0;
	for (const h of all("h1,h2,h3,h4")) { const l = Number(h.tagName[1]); if (l > level + 1) wrong.push("heading " + h.textContent + " skips a level"); level = l; }
	for (const t of all("table")) {
		if (!t.caption || !t.caption.textContent.trim()) wrong.push("a table has no caption");
		if ([...t.querySelectorAll("th")].some(h => !h.hasAttribute("scope"))) wrong.push("a heading of a table has no scope");
	}
	for (const e of all("svg:not([aria-hidden]), svg [role], input, select, [role=region], nav, section")) {
		const by = e.getAttribute("aria-labelledby");
		if (!(e.getAttribute("aria-label") || by && document.getElementById(by) || e.labels && e.labels.length || e.querySelector(":scope > title"))) wrong.push(e.tagName + " " + e.id + " has no name");
	}
	for (const e of all("*")) for (const a of e.attributes) if (/^on|^style$/i.test(a.name)) wrong.push(e.tagName + " has " + a.name);
	for (const e of all("[href]")) if (!(e.getAttribute("href").startsWith("#"))) wrong.push("a link leads to " + e.getAttribute("href"));
	for (const e of all("[aria-labelledby],[aria-describedby]")) for (const a of ["aria-labelledby", "aria-describedby"])
		if (e.hasAttribute(a) && !document.getElementById(e.getAttribute(a))) wrong.push(a + " " + e.getAttribute(a) + " is nowhere");
	if (new Set(all("[id]").map(e => e.id)).size !== all("[id]").length) wrong.push("an id is there twice");
	if (/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/.test(document.body.textContent)) wrong.push("there is a control character");
	return wrong;
})()`
