// Package page renders what an image is made of as one file of HTML, which needs no
// network and no other file.
//
// What is a table or a sum is made here, by a template, so that it is there without
// scripts too. The template package is a copy of html/template that calls no methods
// and is the same otherwise. text/template looks methods up by names that it is given
// as it runs, so with it, the linker leaves out no exported method of any type: 5 MB. What one moves in (the treemap, the search for a file) is made by the
// script from data in the page. The data goes in as JSON that the template escapes, and
// the script makes text nodes of it and nothing else. A policy in the page allows the
// one script and the one style by their digests, and no request at all.
//
// # Bounds
//
// Treemaps have at most [maxBoxes] boxes together, tables of files 100 rows each, that of
// a build's steps [maxSteps], and the search at most [maxSearched] paths, the largest
// files; so the page of a million files has some megabytes.
package page
