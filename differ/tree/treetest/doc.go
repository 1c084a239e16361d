// Package treetest has what tests of several kinds of trees share: layers as
// values, and trees as text that can be compared.
package treetest
