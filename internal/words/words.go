// Package words has the words of messages that count.
package words

import "strconv"

// Count is "1 layer" or "2 layers".
func Count(n int, one, many string) string { return strconv.Itoa(n) + " " + Pick(n, one, many) }

// Some is "1 of its layers", where nothing says how many there are.
func Some(n int, one string) string { return strconv.Itoa(n) + " of its " + one + "s" }

// SomeOf is "its layer" or "1 of its 3 layers".
func SomeOf(n, of int, one string) string {
	if n == 1 && of == 1 {
		return "its " + one
	}
	return strconv.Itoa(n) + " of its " + Count(of, one, one+"s")
}

// Pick is the word that goes with a number, as "is" or "are".
func Pick(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
