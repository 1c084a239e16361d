// Package browser looks at report pages in a real browser. It is a module of its own, so that what drives the browser is
// no dependency of Veneer. test/report makes the pages and runs it.
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// widths are those of a telephone, a tablet and a desk.
var widths = []int64{360, 800, 1400}

// expected is beside a page: NAME.html has NAME.json.
type expected struct {
	// Search finds Path, of which it says Said.
	Search, Path, Said string
	// Zoom is a directory of the root to open.
	Zoom string
}

func TestPages(t *testing.T) {
	dir := os.Getenv("VENEER_PAGES")
	if dir == "" {
		t.Skip("SKIP: VENEER_PAGES is not set: go test ./test/report makes the pages")
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.html"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages in %s: %v", dir, err)
	}
	browser := start(t)
	for _, file := range pages {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".html"), func(t *testing.T) { look(t, browser, file) })
	}
}

// start starts a browser, which the test's end stops.
func start(t *testing.T) context.Context {
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()))
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stop)
	browser, stop := chromedp.NewContext(alloc)
	t.Cleanup(stop)
	if err := chromedp.Do(browser); err != nil {
		t.Fatal(err)
	}
	return browser
}

// open opens a page in a tab of its own.
func open(t *testing.T, browser context.Context, file string) *tab {
	ctx, stop := chromedp.NewContext(browser)
	t.Cleanup(stop)
	ctx, cancel := context.WithTimeout(ctx, patience())
	t.Cleanup(cancel)
	b := &tab{t: t, ctx: ctx}
	url := "file://" + file
	if err := chromedp.Listen(ctx, func(ev any) { b.hear(ev, url) }); err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	b.run(chromedp.Navigate(url), chromedp.WaitReady("#map g"))
	return b
}

// tab is a page that is open in the browser.
type tab struct {
	t   *testing.T
	ctx context.Context
	mu  sync.Mutex
	// wrong is what the browser complained of, and what it asked for.
	wrong []string
}

func look(t *testing.T, browser context.Context, file string) {
	var want expected
	text, err := os.ReadFile(strings.TrimSuffix(file, ".html") + ".json")
	if err == nil {
		err = json.Unmarshal(text, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	b := open(t, browser, file)
	for _, width := range widths {
		for _, scheme := range []string{"light", "dark"} {
			b.see(width, scheme, strings.TrimSuffix(file, ".html"))
		}
	}
	t.Logf("seen at all widths after %v", time.Since(start))
	b.structure()
	b.listens("the page")
	b.searches(want)
	t.Logf("searched after %v", time.Since(start))
	b.zooms(want)
	t.Logf("done after %v", time.Since(start))
	b.heardNothing()
}

// heardNothing fails the test where the browser complained.
func (b *tab) heardNothing() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		b.t.Error(w)
	}
}

// patience is how long a page may take in all. That of a million files is looked at where other things run too.
func patience() time.Duration {
	if os.Getenv("VENEER_SOAK") == "1" {
		return 9 * time.Minute
	}
	return 2 * time.Minute
}

func (b *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// get runs an action that returns something.
func get[T any](b *tab, action chromedp.Action[T]) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func call[P, R any](b *tab, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, cmd, params); err != nil {
		b.t.Fatal(err)
	}
}

// hear notes all that must not happen.
func (b *tab) hear(ev any, url string) {
	text := ""
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		text = fmt.Sprintf("exception: %+v", ev.ExceptionDetails)
	case *runtime.EventConsoleAPICalled:
		text = fmt.Sprintf("console: %v %v", ev.Type, ev.Args)
	case *log.EventEntryAdded:
		text = "log: " + ev.Entry.Text
	case *page.EventJavascriptDialogOpening:
		text = "dialog: " + ev.Message
		go func() {
			_, _ = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	case *network.EventRequestWillBeSent:
		if ev.Request.URL != url {
			text = "request: " + ev.Request.URL
		}
	}
	if text == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, text)
}

// problems runs a script that returns a list of what is wrong.
func (b *tab) problems(what, script string) {
	b.t.Helper()
	list := get(b, chromedp.Evaluate[[]string](script))
	for i, p := range list {
		if i == 10 {
			b.t.Errorf("%s: and %d more", what, len(list)-i)
			break
		}
		b.t.Errorf("%s: %s", what, p)
	}
}

// see looks at the page at one width and in one scheme of colours.
func (b *tab) see(width int64, scheme, name string) {
	b.run(chromedp.EmulateViewport(width, 900))
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.run(chromedp.Sleep(150 * time.Millisecond)) // The treemap is drawn again after a resize.
	at := fmt.Sprintf("%d px, %s", width, scheme)
	b.problems(at, layoutScript)
	b.problems(at, contrastScript)
	b.problems(at, controlsScript)
	b.keep(fmt.Sprintf("%s-%d-%s.png", filepath.Base(name), width, scheme), chromedp.FullScreenshot(100))
}

// keep keeps a picture, where VENEER_SHOTS says.
func (b *tab) keep(name string, shot chromedp.Action[[]byte]) {
	dir := os.Getenv("VENEER_SHOTS")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name), get(b, shot), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// structure looks at what a screen reader goes by, and that no name became an element.
func (b *tab) structure() { b.problems("structure", structureScript) }

// searches types into the search.
func (b *tab) searches(want expected) {
	b.run(chromedp.Focus("#search"), chromedp.SendKeys("#search", want.Search))
	b.wait(fmt.Sprintf(`(document.querySelector("#results li .p") || {}).textContent === %s`, quoted(want.Path)))
	found, said := get(b, chromedp.TextContent("#results li .p")), get(b, chromedp.TextContent("#results li .m"))
	if found != want.Path || !strings.Contains(said, want.Said) {
		b.t.Errorf("the search for %q finds %q, %q; want %q, %q", want.Search, found, said, want.Path, want.Said)
	}
	b.problems("results", structureScript)
	b.listens("results")
	b.keep(filepath.Base(b.t.Name())+"-search.png", chromedp.CaptureScreenshot())
	b.run(chromedp.SendKeys("#search", "no such file at all"))
	b.wait(`document.querySelector("#results li") === null`)
}

// quoted is a text as a script has it.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// wait waits until a condition holds, and says what the search said if it never does.
func (b *tab) wait(condition string) {
	b.t.Helper()
	for end := time.Now().Add(30 * time.Second); !get(b, chromedp.Evaluate[bool](condition)); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never: %s; the page says %q to %q", condition, get(b, chromedp.TextContent("#found")), get(b, chromedp.Evaluate[string](`document.getElementById("search").value`)))
		}
	}
}

// zooms opens a directory by the keyboard, goes back, and opens it by a click.
func (b *tab) zooms(want expected) {
	state := func() string { return get(b, chromedp.TextContent("#crumbs")) }
	focused := func() string {
		return get(b, chromedp.Evaluate[string](`document.activeElement.textContent`))
	}
	b.run(chromedp.Evaluate[chromedp.Void](`document.getElementById("up").focus(); document.querySelector("#map g[tabindex='0']").focus()`))
	for range 40 {
		if strings.HasPrefix(focused(), want.Zoom+"/") {
			break
		}
		before := focused()
		for _, key := range []string{kb.ArrowRight, kb.ArrowDown, kb.ArrowLeft} {
			if b.run(chromedp.KeyEvent(key)); focused() != before {
				break
			}
		}
	}
	if !strings.HasPrefix(focused(), want.Zoom+"/") {
		b.t.Fatalf("arrows do not come to %q, but to %q", want.Zoom, focused())
	}
	b.problems("focus", `(() => { const f = document.activeElement.querySelector("rect.f"), s = getComputedStyle(f);
		return s.stroke !== "none" && parseFloat(s.strokeWidth) >= 2 ? [] : ["the focus is not seen: " + s.stroke]; })()`)
	if b.run(chromedp.KeyEvent(kb.Enter)); state() != "/"+want.Zoom+"/" {
		b.t.Errorf("after Enter: %q", state())
	}
	if b.run(chromedp.KeyEvent(kb.Backspace)); state() != "/" {
		b.t.Errorf("after Backspace: %q", state())
	}
	open := fmt.Sprintf(`[...document.querySelectorAll("#map > g[role=button]")].find(g => g.textContent.startsWith(%q))
		.dispatchEvent(new MouseEvent("click", { bubbles: true }))`, want.Zoom+"/")
	if b.run(chromedp.Evaluate[chromedp.Void](open)); state() != "/"+want.Zoom+"/" {
		b.t.Errorf("after a click: %q", state())
	}
	b.run(chromedp.Click("#crumbs button:first-child"), chromedp.Click("#as-list summary"), chromedp.Click("#list button"))
	if state() == "/" {
		b.t.Error("the list opens nothing")
	}
	b.problems("list", layoutScript)
	b.listens("a list that is open")
	b.run(chromedp.SetValue("#tree", "1"), chromedp.Evaluate[chromedp.Void](`document.getElementById("tree").dispatchEvent(new Event("change"))`))
	if state() != "/" {
		b.t.Errorf("after another tree was chosen: %q", state())
	}
}
