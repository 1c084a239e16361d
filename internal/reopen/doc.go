// Package reopen looks at a file first and opens it afterwards, and makes sure
// that both are the same file.
//
// Between the two, another process may give the name to another file. [Look]
// returns a descriptor (O_PATH) that keeps referring to the file that was looked
// at. It does not open the file: a device does not notice, and a pipe does not
// block. [Open] then opens what the descriptor refers to.
//
// The caller closes the files of both functions. Either may be closed first.
package reopen
