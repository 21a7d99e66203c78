// Command crdcheck validates CRD files the way an apiserver does when they are created:
// structural schema, defaults, and CEL rules compiled with their cost estimated.
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func main() {
	failed := false
	for _, path := range os.Args[1:] {
		for _, problem := range problems(path) {
			fmt.Printf("%s: %v\n", path, problem)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func problems(path string) []error {
	data, err := os.ReadFile(path)
	if err != nil {
		return []error{err}
	}
	var written v1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &written); err != nil {
		return []error{err}
	}
	v1.SetDefaults_CustomResourceDefinition(&written)
	v1.SetDefaults_CustomResourceDefinitionSpec(&written.Spec)
	scheme := runtime.NewScheme()
	install.Install(scheme)
	var internal apiextensions.CustomResourceDefinition
	if err := scheme.Convert(&written, &internal, nil); err != nil {
		return []error{err}
	}
	for _, version := range written.Spec.Versions {
		internal.Status.StoredVersions = append(internal.Status.StoredVersions, version.Name)
	}
	found := []error{}
	for _, each := range validation.ValidateCustomResourceDefinition(context.Background(), &internal) {
		found = append(found, each)
	}
	return found
}
