// Package trees makes random file trees with every type of file, and describes
// trees so that two of them can be compared. It shares no code with what it
// tests.
package trees
