package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// us is tined's module. The program may be one of another module, with tined as a part.
const us = "github.com/tined/tined"

// environment are the names of build settings that are variables of the environment.
var environment = regexp.MustCompile(`^(CGO_|GO)[A-Z0-9_]+$`)

// sbom is the list of the program's parts in the format of CycloneDX, made from what Go has noted in the executable: so it is of what is
// packed, and not of what a source tree could be built to.
func (p *papers) sbom(build *buildinfo.BuildInfo, all []part) ([]byte, error) {
	file, err := os.Open(p.binary)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return nil, fmt.Errorf("read %s: %w", p.binary, err)
	}

	name, version := build.Main.Path, "v"+p.version
	program := cdx.Component{
		BOMRef: purl(name, version), Type: cdx.ComponentTypeApplication, Name: name, Version: version,
		PackageURL: purl(name, version), Licenses: licensed(ours),
		Hashes:             &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(digest.Sum(nil))}},
		ExternalReferences: &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: "https://" + name}},
	}
	properties := []cdx.Property{{Name: "cdx:gomod:build:compiler", Value: build.GoVersion}}
	for _, s := range build.Settings {
		switch {
		case environment.MatchString(s.Key):
			properties = append(properties, cdx.Property{Name: "cdx:gomod:build:env:" + s.Key, Value: s.Value})
		case strings.HasPrefix(s.Key, "vcs."):
			properties = append(properties, cdx.Property{Name: "tined:build:" + s.Key, Value: s.Value})
		}
	}
	program.Properties = &properties

	components := []cdx.Component{}
	under := []string{}
	for _, part := range all {
		c := cdx.Component{
			BOMRef: purl(part.name, part.version), Type: cdx.ComponentTypeLibrary, Name: part.name, Version: part.version,
			PackageURL: purl(part.name, part.version), Scope: cdx.ScopeRequired, Licenses: licensed(part.licence),
		}
		if part.sum != "" {
			// go.sum's h1 is a SHA-256 over the list of the module's files with their own.
			sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(part.sum, "h1:"))
			if err != nil || !strings.HasPrefix(part.sum, "h1:") {
				return nil, fmt.Errorf("%s %s has the checksum %q, which is none of go.sum", part.name, part.version, part.sum)
			}
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
			c.Properties = &[]cdx.Property{{Name: "tined:go.sum", Value: part.sum}}
		}
		components = append(components, c)
		under = append(under, c.BOMRef)
	}

	bom := cdx.NewBOM()
	// The same document has the same number: it is made from the executable's content.
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "https://%s/sbom/%s/%x", name, p.version, digest.Sum(nil))).URN()
	bom.Metadata = &cdx.Metadata{
		Timestamp: p.date.Format(time.RFC3339),
		Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: us + "/packaging/tools/accompany"}}},
		Component: &program,
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: program.BOMRef, Dependencies: &under}}

	var out bytes.Buffer
	encoder := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(bom); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// purl names a module of Go for tools (package URL).
func purl(path, version string) string {
	return "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// licensed is an SPDX expression as CycloneDX has it: a single licence by its identifier.
func licensed(expression string) *cdx.Licenses {
	if strings.Contains(expression, " ") {
		return &cdx.Licenses{{Expression: expression}}
	}
	return &cdx.Licenses{{License: &cdx.License{ID: expression}}}
}
