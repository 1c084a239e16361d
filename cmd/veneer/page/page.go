package page

import (
	"context"
	"crypto/sha256"
	_ "embed" // the template, the style and the script
	"encoding/base64"
	"fmt"
	"io"

	template "github.com/DataDog/datadog-agent/pkg/template/html"

	"github.com/veneer-build/veneer"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

//go:embed page.js
var pageJS string

// Write writes the page of a dissection, with the steps of the build that made the
// image, if they are known. version is the program's.
func Write(ctx context.Context, w io.Writer, d *veneer.Dissection, steps []veneer.DockerfileStep, version string) error {
	t, err := template.New("page").Funcs(funcs).Parse(pageHTML)
	if err != nil {
		return fmt.Errorf("parse the page's template: %w", err)
	}
	v, err := viewOf(ctx, d)
	if err != nil {
		return err
	}
	v.built(steps)
	v.Version, v.Policy = version, policy
	v.CSS, v.JS = template.CSS(pageCSS), template.JS(pageJS) //nolint:gosec // ours, embedded
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	// An error of w says itself what was written where.
	return t.Execute(w, v)
}

// policy is the Content-Security-Policy: no requests, no forms, and no script or style
// but the page's own.
var policy = fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'", hashOf(pageJS), hashOf(pageCSS))

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
