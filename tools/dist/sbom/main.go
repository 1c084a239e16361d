// Command sbom writes the list of Go modules in a program as a CycloneDX document (version 1.6, JSON): name, version,
// package URL and the go.sum hash of each. What it writes depends on the program alone, so the same program has the same
// list.
//
//	sbom PROGRAM VERSION >FILE
package main

import (
	"debug/buildinfo"
	"fmt"
	"os"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom PROGRAM VERSION >FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(program, version string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read the modules of %s: %w", program, err)
	}
	if len(info.Deps) == 0 {
		return fmt.Errorf("read the modules of %s: it names none", program)
	}
	main := module(info.Main.Path, version, "")
	main.Type = cdx.ComponentTypeApplication
	libraries := []cdx.Component{module("std", info.GoVersion, "")}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		libraries = append(libraries, module(d.Path, d.Version, d.Sum))
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &main}
	bom.Components = &libraries
	if err := cdx.NewBOMEncoder(os.Stdout, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}

// module is a Go module; its package URL is as the specification of package URLs has it for the type golang.
func module(path, version, sum string) cdx.Component {
	url := "pkg:golang/" + path + "@" + version
	c := cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: url}
	if sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go.sum", Value: sum}}
	}
	return c
}
