// Package report tests the pages of veneer report: real images through the verb and the renderer, then in a real browser
// (test/browser, a module of its own).
package report
