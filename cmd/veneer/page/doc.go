// Package page renders what an image is made of as one file of HTML, which needs no
// network and no other file.
//
// What is a table or a sum is made here, by html/template, so that it is there without
// scripts too. What one moves in (the treemap, the search for a file) is made by the
// script from data in the page. The data goes in as JSON that html/template escapes, and
// the script makes text nodes of it and nothing else. A policy in the page allows the
// one script and the one style by their digests, and no request at all.
//
// # Bounds
//
// Treemaps have at most [maxBoxes] boxes together, tables of files 100 rows each, that of
// a build's steps [maxSteps], and the search at most [maxSearched] paths, the largest
// files; so the page of a million files has some megabytes.
package page
