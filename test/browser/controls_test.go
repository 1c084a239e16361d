package browser

// controlsScript looks at what people use by keyboard, by touch or by ear: names, focus, size, landmarks, lists (WCAG 2.2:
// 1.3.1, 1.4.11, 2.4.3, 2.4.7, 2.5.8, 3.1.1, 4.1.2).
const controlsScript = `(() => {
	const wrong = new Set(), all = s => [...document.querySelectorAll(s)];
	const seen = e => e.checkVisibility({ visibilityProperty: true });
	const who = e => e.tagName + (e.id ? "#" + e.id : "") + " " + (e.textContent || "").trim().slice(0, 30);
	const text = id => (document.getElementById(id) || { textContent: "" }).textContent.trim();
	const name = e => (e.getAttribute("aria-label") || (e.getAttribute("aria-labelledby") || "").split(" ").map(text).join(" ").trim()
		|| [...(e.labels || [])].map(l => l.textContent.trim()).join(" ") || e.textContent.trim());
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
	const light = ([r, g, b]) => { const f = v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
	const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255, 1]; };

	if (!document.documentElement.lang) wrong.add("the page has no language");
	if (!document.title.trim()) wrong.add("the page has no title");
	for (const e of document.body.children) if (!e.matches("header, main, footer, script, a.skip")) wrong.add("outside of all landmarks: " + who(e));
	const marks = new Set();
	for (const e of all("nav, section[aria-labelledby], [role=region], [role=search], [role=group]")) {
		const n = e.tagName + (e.getAttribute("role") || "") + ": " + name(e);
		if (marks.has(n)) wrong.add("two landmarks of one name: " + n);
		marks.add(n);
	}
	for (const e of all("ul, ol")) if ([...e.children].some(c => c.tagName !== "LI")) wrong.add("a list has what is no item: " + who(e));
	for (const e of all("dl")) if ([...e.children].some(c => c.tagName !== "DIV" || !c.querySelector("dt") || !c.querySelector("dd"))) wrong.add("a list of facts is none: " + who(e));
	for (const e of all("th[scope=col]")) if (!e.textContent.trim()) wrong.add("a column has no heading");

	const controls = all("a[href], button, input, select, summary, [tabindex]").filter(e => !e.disabled);
	const before = document.activeElement;
	for (const e of controls) {
		if (!name(e) && !e.matches("main")) wrong.add("no name: " + who(e));
		if (e.matches("[tabindex]") && e.tabIndex > 0) wrong.add("an order of its own: " + who(e));
		if (e.parentElement.closest("a, button, summary, label")) wrong.add("in another control: " + who(e));
		if (!seen(e) || e.matches("main, a.skip")) continue;
		const r = e.getBoundingClientRect();
		if (e.matches("button, input, select, summary, nav a") && (r.height < 24 || r.width < 24)) wrong.add("too small for a finger, " + r.width + " x " + r.height + ": " + who(e));
		e.focus({ preventScroll: true, focusVisible: true });
		if (document.activeElement !== e) { if (e.tabIndex >= 0) wrong.add("takes no focus: " + who(e)); continue; }
		const ring = e.querySelector(":scope > rect.f"), s = getComputedStyle(ring || e);
		const width = parseFloat(ring ? s.strokeWidth : s.outlineWidth), color = ring ? s.stroke : s.outlineColor;
		if ((ring ? s.stroke : s.outlineStyle) === "none" || !(width >= 2)) wrong.add("the focus is not seen: " + who(e));
		else {
			const on = ring ? parse(getComputedStyle(document.querySelectorAll("#map rect.top")[[...e.parentElement.querySelectorAll("g[tabindex]")].indexOf(e)]).fill) : behind(e.parentElement);
			if (ratio(parse(color), on) < 3) wrong.add("the focus is hardly seen, " + ratio(parse(color), on).toFixed(2) + ": " + who(e));
		}
	}
	document.activeElement.blur();
	if (before && before !== document.body) before.focus({ preventScroll: true });
	for (const e of all("button, input, select")) {
		if (e.disabled || !seen(e)) continue;
		const c = ratio(parse(getComputedStyle(e).borderTopColor), behind(e.parentElement));
		if (c < 3) wrong.add("the border is hardly seen, " + c.toFixed(2) + ": " + who(e));
	}
	for (const e of all("p a, td a")) if (!/underline/.test(getComputedStyle(e).textDecorationLine)) wrong.add("a link is told by its colour alone: " + who(e));
	for (const e of all(".scroll")) if (e.tabIndex !== 0) wrong.add("what scrolls cannot be scrolled by the keyboard: " + who(e));
	return [...wrong];
})()`
