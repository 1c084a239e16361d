// Command cacerts writes the certificates of the authorities that Mozilla trusts, as PEM, in the order of the bundle. They
// come with a module, so that they are the same on every machine that has the same go.sum. An authority that is trusted for
// some of its certificates alone (those before a date) is left out, since a file cannot say that.
//
//	cacerts >ca-certificates.crt
package main

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"os"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cacerts:", err)
		os.Exit(1)
	}
}

func run() error {
	out := bufio.NewWriter(os.Stdout)
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue
		}
		if err := pem.Encode(out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return fmt.Errorf("write certificates: %w", err)
		}
	}
	return out.Flush()
}
